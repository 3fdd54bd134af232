"""The data set on the device by itself: what it reads, gives, looks like from outside, and refuses."""
import copy
import pickle

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from nbn_mm.datasets import LabelBatch, count_classes, device_collate, image_labels
from nbn_mm.datasets.device_images import free_bytes
from nbn_mm.datasets.samplers import ClassBalancedSampler
from nbn_mm.utils.hosts import host_error
from nbn_mm.utils.memory import in_words

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')

CROP = [dict(type='RandomCrop', crop_size=8, padding=2), dict(type='PackInputs')]
PACK = [dict(type='PackInputs')]


@DATASETS.register_module(force=True)
class Listed(BaseDataset):
    """The items that it is given."""

    def __init__(self, items, classes=('cat', 'dog'), **kwargs):
        self.items = items
        super().__init__(metainfo=dict(classes=list(classes)), serialize_data=False, **kwargs)

    def load_data_list(self):
        return self.items

    @property
    def subset_hash(self):
        return 'abc'


def image(seed, size=(8, 8, 3), dtype=np.uint8):
    return np.random.RandomState(seed).randint(0, 256, size).astype(dtype)


def items(count=10, **changes):
    return [dict(img=image(i), gt_label=i % 2, **changes) for i in range(count)]


def build(data, pipeline=PACK, loading=(), **kwargs):
    from mmpretrain.registry import DATASETS as HOST
    inner = dict(type='Listed', items=data, pipeline=list(loading))
    dataset = HOST.build(dict(type='DeviceDataset', dataset=inner, pipeline=list(pipeline), **kwargs))
    dataset.start(0, 0)
    return dataset


def fetch(dataset, indices=(2, 0, 5)):
    return dataset.__getitems__(list(indices))


def test_a_batch_is_the_images_and_one_tensor_of_labels():
    data = items()
    batch = fetch(build(data))
    assert batch['inputs'].dtype == torch.uint8 and batch['inputs'].shape == (3, 3, 8, 8)
    for row, index in enumerate((2, 0, 5)):
        assert np.array_equal(batch['inputs'][row].permute(1, 2, 0).numpy(), data[index]['img'])
    labels = batch['data_samples']
    assert isinstance(labels, LabelBatch) and len(labels) == 3 and labels.gt_label.tolist() == [0, 0, 1]
    assert labels.gt_label.dtype == torch.int64 and not labels.touched


def test_the_loader_gives_whole_batches():
    dataset = build(items(), CROP)
    loader = DataLoader(dataset, batch_size=4, collate_fn=device_collate)
    batches = list(loader)
    assert [len(batch['data_samples']) for batch in batches] == [4, 4, 2]
    dataset.start(0, 0)
    assert all(torch.equal(a['inputs'], b['inputs']) for a, b in zip(batches, loader, strict=True))
    dataset.start(1, 0)
    assert not torch.equal(batches[0]['inputs'], next(iter(loader))['inputs'])


def test_pinning_leaves_a_batch_alone():
    batch = fetch(build(items()))
    assert batch.pin_memory() is batch


def test_ranks_draw_their_own(monkeypatch):
    batches = []
    for rank in (0, 1, 0):
        monkeypatch.setattr('nbn_mm.datasets.device_dataset.get_rank', lambda rank=rank: rank)
        batches.append(fetch(build(items(), CROP), range(8))['inputs'])
    assert torch.equal(batches[0], batches[2]) and not torch.equal(batches[0], batches[1])


def test_a_pass_apart_does_not_move_the_training():
    one, two = build(items(), CROP), build(items(), CROP)
    fetch(one)
    fetch(two)
    with two.apart(0):
        first = fetch(two)['inputs']
        fetch(two)
    with two.apart(0):
        assert torch.equal(first, fetch(two)['inputs'])
    assert torch.equal(fetch(one)['inputs'], fetch(two)['inputs'])


def test_what_is_asked_of_the_wrapped_data_set():
    dataset = build(items(11))
    assert dataset.metainfo['classes'] == ['cat', 'dog'] and len(dataset) == 11 and dataset.subset_hash == 'abc'
    assert list(count_classes(dataset).images) == [6, 5]
    assert image_labels(dataset).tolist() == [i % 2 for i in range(11)]
    assert dataset._data is None, 'counting must not bring images to the device'
    sampler = ClassBalancedSampler(dataset, seed=0)
    batch = next(iter(DataLoader(dataset, batch_size=8, sampler=sampler, collate_fn=device_collate)))
    assert batch['data_samples'].gt_label.sum() == 4
    assert not hasattr(dataset, '_nothing') and not hasattr(dataset, 'nothing')
    assert len(copy.deepcopy(dataset)) == len(pickle.loads(pickle.dumps(dataset))) == 11


def test_a_copy_shares_the_images_alone():
    """mmengine copies a data set that is given to a loader, as RecomputeStatisticsHook does."""
    dataset = build(items(), CROP)
    fetch(dataset)
    copied = copy.deepcopy(dataset)
    assert copied._data.images is dataset._data.images and copied.dataset is not dataset.dataset
    first = fetch(copied)
    assert torch.equal(first['inputs'], fetch(dataset)['inputs'])
    copied.start(7, 0)
    assert not torch.equal(fetch(copied)['inputs'], fetch(dataset)['inputs'])


def test_an_image_that_is_read_in_two_ways_is_refused(monkeypatch):
    """Transforms that draw without telling mmcv: Lighting, those of albumentations and torchvision."""
    dataset = build(items())
    monkeypatch.setattr(type(dataset.dataset), '__getitem__', lambda self, i: dict(img=image(None), gt_label=0))
    with pytest.raises(ValueError, match=r'image 0 of Listed is another image.*Move what draws'):
        fetch(dataset)


def test_wrappers_stand_inside():
    from mmpretrain.registry import DATASETS as HOST
    inner = [dict(type='Listed', items=items(4)), dict(type='Listed', items=items(3))]
    dataset = HOST.build(dict(type='DeviceDataset', pipeline=PACK, dataset=dict(type='ConcatDataset', datasets=inner)))
    assert len(dataset) == 7 and list(count_classes(dataset).images) == [4, 3]
    assert np.array_equal(fetch(dataset, [6])['inputs'][0].permute(1, 2, 0).numpy(), image(2))
    wrapped = dict(type='mmpretrain.DeviceDataset', dataset=inner[0])
    repeated = HOST.build(dict(type='RepeatDataset', times=2, dataset=wrapped))
    with pytest.raises(TypeError, match='outermost'):
        repeated[0]


def test_files_are_read_once_and_resized(tmp_path):
    """A data set of mmpretrain that lists files, as Tiny-ImageNet-LT is read."""
    from mmpretrain.registry import DATASETS as HOST
    for i, size in enumerate([(12, 12), (20, 16), (12, 12), (9, 12)]):
        cv2.imwrite(str(tmp_path / f'{i}.png'), image(i, (*size, 3)))
    (tmp_path / 'list.txt').write_text(''.join(f'{i}.png {i % 2}\n' for i in range(4)))
    inner = dict(type='CustomDataset', data_root=str(tmp_path), ann_file='list.txt', classes=['a', 'b'])
    loading = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(12, 12))]
    dataset = HOST.build(dict(type='DeviceDataset', dataset=dict(inner, pipeline=loading), pipeline=PACK))
    batch = fetch(dataset, range(4))
    assert batch['inputs'].shape == (4, 3, 12, 12)
    assert np.array_equal(batch['inputs'][2].permute(1, 2, 0).numpy(), cv2.imread(str(tmp_path / '2.png')))
    sample = batch['data_samples'][1]
    assert sample.img_path.endswith('1.png') and sample.sample_idx == 1 and sample.gt_label.tolist() == [1]
    (tmp_path / '1.png').unlink()
    fetch(dataset, [1])
    with pytest.raises(ValueError, match=r'several sizes: .*0\.png is 12x12, .*3\.png is 9x12.*ResizeEdge'):
        (tmp_path / 'list.txt').write_text('0.png 0\n2.png 0\n3.png 1\n')
        fetch(HOST.build(dict(type='DeviceDataset', dataset=dict(inner, pipeline=loading[:1]), pipeline=PACK)))
    with pytest.raises(ValueError, match=r"gives files, not images.*LoadImageFromFile"):
        fetch(HOST.build(dict(type='DeviceDataset', dataset=inner, pipeline=PACK)))


def test_samples_are_made_when_asked_for_and_kept():
    """A host that writes into single samples loses nothing, and its heads see what it wrote."""
    from mmpretrain.structures import DataSample
    batch = LabelBatch(DataSample, [4, 7, 9], gt_label=torch.tensor([1, 0, 2]), pred_score=torch.eye(3))
    assert [sample.gt_label.tolist() for sample in batch] == [[1], [0], [2]]
    assert batch[1].pred_score.tolist() == [0, 1, 0] and batch[-1].sample_idx == 9 and batch.touched
    batch[0].set_gt_score([0.5, 0.5, 0.])
    assert batch[0].gt_score.tolist() == [0.5, 0.5, 0.] and 'gt_score' in batch.targets()[0]
    assert [sample.sample_idx for sample in batch[1:]] == [7, 9]
    assert batch.to('cpu') is batch and not batch.replaced(gt_label=torch.zeros(3)).touched
    with pytest.raises(IndexError):
        batch[3]
    with pytest.raises(TypeError, match='no field'):
        LabelBatch(DataSample, [0], label=torch.zeros(1))


def test_targets_are_what_a_head_makes_of_samples():
    from mmpretrain.structures import DataSample
    labels, score = torch.tensor([1, 0]), torch.tensor([[0.2, 0.8], [0.5, 0.5]])
    hard = LabelBatch(DataSample, [0, 1], gt_label=labels).targets()
    soft = LabelBatch(DataSample, [0, 1], gt_label=labels, gt_score=score).targets()
    assert torch.equal(torch.cat([i.gt_label for i in hard]), labels) and 'gt_score' not in hard[0]
    assert torch.equal(torch.stack([i.gt_score for i in soft]), score) and 'gt_score' in soft[0]


@pytest.mark.parametrize('free', [100, 1500])
def test_a_set_that_does_not_fit_is_refused_before_it_is_copied(monkeypatch, free):
    monkeypatch.setattr('nbn_mm.datasets.device_images.free_bytes', lambda device: free)
    monkeypatch.setattr(torch, 'empty', lambda *args, **kwargs: pytest.fail('memory was taken'))
    dataset = build(items())
    with pytest.raises(MemoryError, match=r'the 10 images of 8x8 of Listed take 2\.0 KiB, but cpu has .* free.*'
                                          r'Resize in dataset\.pipeline.*dataset\.indices') as error:
        fetch(dataset)
    assert in_words(free) in str(error.value) and "device='cpu'" not in str(error.value)


def test_free_memory_of_this_machine():
    assert free_bytes(torch.device('cpu')) > 2**20 and free_bytes(torch.device('meta')) is None
    assert [in_words(n) for n in (0, 1023, 1024, 38_102_144, 5 * 2**40)] == \
        ['0 B', '1023 B', '1.0 KiB', '36.3 MiB', '5.0 TiB']


def test_capture_changes_no_image():
    recipe = [CROP[0], dict(type='CIFARAutoAugment'), *PACK]
    plain, captured = (build(items(), recipe, capture=capture) for capture in (False, True))
    for _ in range(3):
        assert torch.equal(fetch(plain)['inputs'], fetch(captured)['inputs'])
    assert captured.pipeline.capture and not plain.pipeline.capture


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_a_gpu_gives_the_same_batch():
    dataset = build(items(), CROP)
    assert torch.equal(fetch(build(items(), CROP, device='cpu'))['inputs'], fetch(dataset)['inputs'].cpu())
    assert fetch(dataset)['data_samples'].gt_label.is_cuda


@pytest.mark.parametrize(('data', 'kwargs', 'error', 'text'), [
    ([*items(3), dict(img=image(0, (8, 9, 3)), gt_label=0)], {}, ValueError,
     r'image 0 of Listed is 8x8, image 3 of Listed is 8x9'),
    ([dict(img=image(0, dtype=np.float32), gt_label=0)], {}, TypeError, 'image 0 of Listed is float32'),
    ([dict(img=image(0, (8, 8)), gt_label=0)], {}, TypeError, r'uint8 of shape \(8, 8\); it takes'),
    ([*items(1), dict(img=image(0))], {}, ValueError, 'image 1 of Listed has no `gt_label`'),
    ([dict(img=image(0), gt_label=[0, 1])], {}, ValueError, r'the labels \[0, 1\]'),
    ([dict(img=image(0), gt_label=0.5)], {}, ValueError, r'the labels \[0.5\]'),
    ([dict(picture=1, gt_label=0)], {}, ValueError, 'has no `img`'),
    ([], {}, ValueError, 'holds no images'),
    (items(), dict(pipeline=[dict(type='ColorJitter', brightness=0.4), *PACK]), ValueError, "'ColorJitter' has no"),
    (items(), dict(pipeline=[dict(type='Resize', scale=4), *PACK]), ValueError, "'Resize' has no"),
    (items(), dict(loading=[dict(type='RandomFlip', prob=0.5)]), ValueError, 'RandomFlip in dataset.pipeline draws'),
    (items(), dict(loading=[dict(type='mmpretrain.PackInputs')]), ValueError, 'PackInputs in dataset.pipeline'),
    (items(), dict(device='gpu0'), ValueError, "device='gpu0' is unknown"),
])
def test_what_is_refused(data, kwargs, error, text):
    with pytest.raises(error, match=text):
        fetch(build(data, **kwargs), [0])


def test_no_seed_and_a_single_image_are_errors():
    from mmpretrain.registry import DATASETS as HOST
    config = dict(type='DeviceDataset', dataset=dict(type='Listed', items=items()))
    dataset = HOST.build(dict(config, pipeline=CROP))
    with pytest.raises(RuntimeError, match=r"device_data=dict\(type='DeviceDataHook'\)"):
        fetch(dataset)
    with pytest.raises(TypeError, match='whole batches'):
        dataset[0]
    fetch(HOST.build(dict(config, pipeline=PACK)))  # nothing is drawn
