import hashlib
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from nbn_mm.datasets import count_classes, long_tail_counts, select_subset
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get('NBN_MM_DATA', ROOT / 'data'))
SIZES = dict(train=40, test=4)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A download in a test is an error."""
    import nbn_mm.datasets.cifar_lt as module

    def refuse(*args, **kwargs):
        raise OSError('the test has no network')

    monkeypatch.setattr(module, 'download_and_extract_archive', refuse)
    monkeypatch.setattr(module.CIFAR10LT, 'images_per_class', SIZES)
    monkeypatch.setattr(module.CIFAR100LT, 'images_per_class', dict(train=31, test=3))


def build(name='CIFAR10LT', **kwargs):
    from mmpretrain.registry import DATASETS
    return DATASETS.build(dict(type=name, **{'imbalance_factor': 10, **kwargs}))


def batch(labels, seed=0, key='labels'):
    data = np.random.RandomState(seed).randint(0, 256, (len(labels), 3072), dtype=np.uint8)
    return {'data': data, key: [int(label) for label in labels]}


def write(root, name, entry):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(entry if isinstance(entry, bytes) else pickle.dumps(entry, protocol=2))
    return path


@pytest.fixture
def root(tmp_path):
    """Small batches in the layout of CIFAR-10: 40 training and 4 test images a class."""
    labels = np.random.RandomState(1).permutation(np.repeat(np.arange(10), 40))
    for i in range(5):
        write(tmp_path, f'cifar-10-batches-py/data_batch_{i + 1}', batch(labels[i * 80:i * 80 + 80], i))
    write(tmp_path, 'cifar-10-batches-py/test_batch', batch(np.arange(40) % 10, 9))
    return tmp_path


def read(root):
    entries = [pickle.loads((root / f'cifar-10-batches-py/data_batch_{i}').read_bytes()) for i in range(1, 6)]
    return np.concatenate([e['data'] for e in entries]), sum([e['labels'] for e in entries], [])


@pytest.mark.parametrize('subset', ['canonical', 'first', 7])
@pytest.mark.parametrize('imbalance_type', ['exp', 'step'])
def test_images_are_those_of_the_subset(root, subset, imbalance_type):
    dataset = build(
        data_root=str(root), verify_md5=False, imbalance_factor=10, imbalance_type=imbalance_type, subset=subset)
    data, labels = read(root)
    chosen = select_subset(labels, long_tail_counts(40, 10, 10, imbalance_type), subset)
    assert len(dataset) == len(chosen)
    for position in (0, 1, len(chosen) // 2, len(chosen) - 1):
        info = dataset.get_data_info(position)
        for channel in range(3):
            flat = data[chosen[position]][channel * 1024:(channel + 1) * 1024]
            assert (info['img'][..., channel] == flat.reshape(32, 32)).all()
        assert info['gt_label'] == labels[chosen[position]] and info['img'].dtype == np.uint8
    assert count_classes(dataset).images == tuple(long_tail_counts(40, 10, 10, imbalance_type))
    assert len(dataset.subset_hash) == 16 and dataset.metainfo['classes'][0] == 'airplane'


def test_the_test_split_is_whole_and_balanced(root):
    dataset = build(data_root=str(root), split='test', verify_md5=False, imbalance_factor=10, test_mode=True)
    assert count_classes(dataset).images == (4, ) * 10
    assert dataset.get_gt_labels().tolist() == (np.arange(40) % 10).tolist()


def test_md5_is_checked_unless_told_otherwise(root, monkeypatch):
    import nbn_mm.datasets.cifar_lt as module
    path = root / 'cifar-10-batches-py/data_batch_1'
    before = {p: p.read_bytes() for p in root.rglob('*') if p.is_file()}
    actual = hashlib.md5(path.read_bytes()).hexdigest()
    for download in (False, True):
        with pytest.raises(ValueError) as error:
            build(data_root=str(root), download=download, imbalance_factor=10)
        for part in (str(path), actual, 'c99cafc152244af753f735de768cd75f', 'verify_md5=False', 'Nothing was'):
            assert part in str(error.value)
    assert before == {p: p.read_bytes() for p in root.rglob('*') if p.is_file()}
    official = [[p.name, hashlib.md5(p.read_bytes()).hexdigest()] for p in sorted(root.rglob('data_batch_*'))]
    monkeypatch.setattr(module.CIFAR10LT, 'train_list', official)
    assert len(build(data_root=str(root), imbalance_factor=1)) == 400


def test_missing_files_are_named_and_not_written_over(root):
    os.remove(root / 'cifar-10-batches-py/data_batch_3')
    for download in (False, True):  # True: the folder is there, so nothing is fetched over it
        with pytest.raises(FileNotFoundError, match=r'data_batch_3.*Unpack cifar-10-python.tar.gz.*download=True'):
            build(data_root=str(root), verify_md5=False, download=download)


def test_download_only_where_nothing_stands(tmp_path):
    with pytest.raises(FileNotFoundError, match='data_batch_1'):
        build(data_root=str(tmp_path))
    with pytest.raises(RuntimeError, match=r'CIFAR10LT \(train\): download failed with OSError: the test'):
        build(data_root=str(tmp_path), download=True)
    archive = tmp_path / 'cifar-10-python.tar.gz'
    archive.write_bytes(b'mine')
    with pytest.raises(RuntimeError, match='cifar-10-python.tar.gz is there, but its md5 is not c58f30'):
        build(data_root=str(tmp_path), download=True)
    assert archive.read_bytes() == b'mine'


@pytest.mark.parametrize('entry, match', [
    (b'', 'no readable pickle'),
    (b'\x80\x02}q', 'no readable pickle'),
    ([1, 2], 'holds no CIFAR batch'),
    ({'data': np.zeros((2, 3072), np.uint8)}, 'a dict with `data` and `labels` is expected'),
    ({'data': np.zeros((2, 3072), np.float32), 'labels': [0, 1]}, r'is float32 of shape \(2, 3072\), expected uint8'),
    ({'data': np.zeros((2, 1024), np.uint8), 'labels': [0, 1]}, r'is uint8 of shape \(2, 1024\)'),
    ({'data': np.zeros((2, 3072), np.uint8), 'labels': [0]}, r'are int64 of shape \(1,\), expected 2 integers'),
    ({'data': np.zeros((2, 3072), np.uint8), 'labels': [0., 1.]}, 'are float64'),
    ({'data': np.zeros((2, 3072), np.uint8), 'labels': [0, 10]}, 'image 1 of .* has label 10, outside of the 10'),
    ({'data': np.zeros((2, 3072), np.uint8), 'labels': [-1, 1]}, 'image 0 of .* has label -1'),
])
def test_damaged_files_are_named(root, entry, match):
    write(root, 'cifar-10-batches-py/data_batch_2', entry)
    with pytest.raises(ValueError, match=match) as error:
        build(data_root=str(root), verify_md5=False)
    assert 'data_batch_2' in str(error.value)


def test_repacked_set_with_fewer_images(tmp_path):
    sizes = long_tail_counts(30, 100, 10)
    write(tmp_path, 'cifar-100-python/train', batch(np.repeat(np.arange(100), sizes), key='fine_labels'))
    write(tmp_path, 'cifar-100-python/test', batch(np.arange(200) % 100, key='fine_labels'))
    kwargs = dict(name='CIFAR100LT', data_root=str(tmp_path), verify_md5=False)
    assert count_classes(build(subset='first', imbalance_factor=10, **kwargs)).images == tuple(sizes)
    thinner = build(subset='first', imbalance_factor=20, **kwargs)
    assert count_classes(thinner).images == tuple(long_tail_counts(30, 100, 20))
    with pytest.raises(ValueError, match=r'class \d+ \(\w+\) has \d+ images, but the long-tailed subset needs \d+'):
        build(subset='first', imbalance_factor=5, **kwargs)
    with pytest.raises(ValueError, match="subset='canonical' can't be drawn. Set subset='first' or a seed"):
        build(imbalance_factor=10, **kwargs)
    assert len(build(split='test', **kwargs)) == 200
    write(tmp_path, 'cifar-100-python/test', batch(np.arange(150) % 100, key='fine_labels'))
    with pytest.raises(ValueError, match='classes of 1 … 2 images.*must be balanced'):
        build(split='test', **kwargs)


@pytest.mark.parametrize('kwargs, error, match', [
    (dict(imbalance_factor=0.5), ValueError, 'imbalance_factor=0.5 must be at least 1'),
    (dict(imbalance_type='linear'), ValueError, "imbalance_type='linear'"),
    (dict(imbalance_factor=1000), ValueError, 'imbalance_factor=1000 leaves class'),
    (dict(subset='best'), ValueError, "subset='best'"),
    (dict(split='val'), ValueError, "split='val' is unknown"),
])
def test_bad_arguments_come_before_the_files_are_read(kwargs, error, match):
    with pytest.raises(error, match=match):
        build(data_root='nowhere', **{'imbalance_factor': 10, **kwargs})


RANKS = textwrap.dedent('''
    import sys
    import torch.distributed as dist
    import nbn_mm
    import nbn_mm.datasets.cifar_lt as module
    from mmpretrain.registry import DATASETS

    def refuse(*args, **kwargs):
        raise OSError('the test has no network')

    module.download_and_extract_archive = refuse
    module.CIFAR10LT.images_per_class = dict(train=40, test=4)
    rank, root, rendezvous, empty = int(sys.argv[1]), *sys.argv[2:]
    dist.init_process_group('gloo', init_method=f'file://{rendezvous}', rank=rank, world_size=2)
    cfg = dict(type='CIFAR10LT', imbalance_factor=10)
    words = [DATASETS.build(dict(cfg, data_root=root, verify_md5=False)).subset_hash]
    for kwargs in (dict(data_root=root), dict(data_root=empty), dict(data_root=empty, download=True)):
        try:
            DATASETS.build(dict(cfg, **kwargs))
        except Exception as error:
            words.append(type(error).__name__)
    dist.barrier()
    print('WORDS', *words)
''')


def test_two_ranks_agree_and_fail_together(root, tmp_path):
    """Data, a failed md5, missing files and a failed download: each rank returns, with the same outcome."""
    empty = tmp_path / 'empty'
    empty.mkdir()
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    ranks = [
        subprocess.Popen([sys.executable, '-c', RANKS, str(rank), str(root), str(tmp_path / 'rendezvous'), str(empty)],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    words = [[line for line in output.splitlines() if line.startswith('WORDS')] for output in outputs]
    assert words[0] and words[0] == words[1], outputs
    assert words[0][0].split()[2:] == ['ValueError', 'FileNotFoundError', 'RuntimeError']


@pytest.mark.skipif(not (DATA / 'cifar10/cifar-10-batches-py').is_dir(), reason='needs CIFAR-10 under data/cifar10')
def test_canonical_subset_of_cifar10(monkeypatch):
    """The hash of LDAM's subset at factor 100, from CIFAR-10's own labels in their official order."""
    import nbn_mm.datasets.cifar_lt as module
    monkeypatch.setattr(module.CIFAR10LT, 'images_per_class', dict(train=5000, test=1000))
    dataset = build(data_root=str(DATA / 'cifar10'), verify_md5=False, imbalance_factor=100)
    assert len(dataset) == 12406 and dataset.subset_hash == 'b0f163e7382ab91c'
