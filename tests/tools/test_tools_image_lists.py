"""The tools for sets of image files."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tool_process import run_tool

sys.path.append(str(Path(__file__).resolve().parents[1] / 'datasets'))
from image_files import imagenet_lt, inaturalist, places_lt  # noqa: E402

TOOLS = Path(__file__).resolve().parents[2] / 'tools/dataset_converters'


def tool(name, *args, cwd):
    return run_tool(f'dataset_converters/{name}.py', *args, cwd=cwd)


def test_check_a_set_of_lists(tmp_path):
    root = imagenet_lt(tmp_path / 'data')
    lists = [f'{split}={root}/ImageNet_LT_{split}.txt' for split in ('train', 'val', 'test')]
    code, output = tool('check_image_list', root, '--lists', *lists, '--workers', 1, cwd=tmp_path)
    assert code == 0, output
    assert 'train: 12 images of 3 classes, 6 … 2 a class' in output and 'few 3' in output
    broken = root / 'train/n01441/n01441_1.JPEG'
    broken.write_bytes(broken.read_bytes()[:300])
    (root / 'train/n01442/n01442_0.JPEG').unlink()
    with open(root / 'ImageNet_LT_val.txt', 'a') as file:
        file.write('train/n01440/n01440_0.JPEG 0\n')
    code, output = tool('check_image_list', root, '--lists', *lists, '--workers', 1, cwd=tmp_path)
    assert code == 1 and '1 of 12 images are not in' in output
    assert '1 images can not be decoded: train/n01441/n01441_1.JPEG' in output
    assert '1 images stand in train and in val: train/n01440/n01440_0.JPEG' in output
    code, output = tool('check_image_list', root, '--lists', *lists, '--quick', cwd=tmp_path)
    assert code == 1 and 'decoded' not in output


def test_check_what_the_data_set_would_find(tmp_path):
    """Validation images side by side, and splits that are folders."""
    root = imagenet_lt(tmp_path / 'data', flat_val=True)
    code, output = tool('check_image_list', root, '--lists', f'train={root}/train', f'test={root}/ImageNet_LT_test.txt',
                        '--workers', 1, cwd=tmp_path)
    assert code == 0 and 'train: 15 images of 3 classes, 7 … 3 a class' in output and 'test: 6 images' in output, output


def test_the_tools_start_without_torch():
    code = '\n'.join([
        'import runpy, sys', 'sys.argv = [sys.argv[1], "--help"]',
        'try: runpy.run_path(sys.argv[0], run_name="__main__")',
        'except SystemExit: print("imported:", sorted({"torch", "mmcv", "mmpretrain", "mmdet"} & set(sys.modules)))'])
    for name in ('check_image_list', 'make_long_tailed'):
        result = subprocess.run([sys.executable, '-c', code, str(TOOLS / f'{name}.py')], capture_output=True, text=True)
        assert 'usage:' in result.stdout and 'imported: []' in result.stdout, result.stdout + result.stderr


def build_list(root, ann_file, **kwargs):
    pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')
    from nbn_mm.datasets.image_list_lt import ImageListLT
    return ImageListLT(data_root=str(root), ann_file=ann_file, check_exists=False, **kwargs)


@pytest.mark.parametrize(('make', 'name', 'message'), [
    (imagenet_lt, 'imagenet_lt', '12 images, published: 115846'),
    (places_lt, 'places_lt', 'a largest class of 6 images, published: 4980'),
    (inaturalist, 'inat18', '2 classes, published: 8142')])
def test_check_a_published_set(tmp_path, make, name, message):
    code, output = tool('check_image_list', make(tmp_path / 'data'), '--set', name, '--quick', cwd=tmp_path)
    assert code == 1 and message in output


def test_make_long_tailed(tmp_path):
    lines = [f'{label}/{i}.png {label}' for label in range(3) for i in range(12)]
    (tmp_path / 'all.txt').write_text('\n'.join(lines))
    args = (tmp_path / 'all.txt', tmp_path / 'tail.txt', '--imbalance-factor', 6)
    code, output = tool('make_long_tailed', *args, cwd=tmp_path)
    assert code == 0 and '18 images of 3 classes, 12 … 2 a class' in output
    record = json.loads((tmp_path / 'tail.json').read_text())
    assert record['counts'] == [12, 4, 2] and record['hash'] in output
    chosen = (tmp_path / 'tail.txt').read_text().splitlines()
    assert len(chosen) == 18 and set(chosen) <= set(lines)
    data = build_list(tmp_path, 'all.txt', imbalance_factor=6)
    assert data.subset_hash == record['hash']
    infos = [data.get_data_info(i) for i in range(len(data))]
    assert [f"{info['img_path'].removeprefix(f'{tmp_path}/')} {info['gt_label']}" for info in infos] == chosen
    assert len(build_list(tmp_path, 'tail.txt')) == 18
    code, output = tool('make_long_tailed', *args, cwd=tmp_path)
    assert code == 1 and 'exists, and is left as it is' in output
    (tmp_path / 'mine.json').write_text('my annotations')
    code, output = tool('make_long_tailed', tmp_path / 'all.txt', tmp_path / 'mine.txt', *args[2:], cwd=tmp_path)
    assert code == 1 and "mine.json' exists, and is left as it is" in output
    assert (tmp_path / 'mine.json').read_text() == 'my annotations' and not (tmp_path / 'mine.txt').exists()
    code, output = tool('make_long_tailed', tmp_path / 'all.txt', tmp_path / 'list.json', *args[2:], cwd=tmp_path)
    assert code == 1 and 'must not end in .json' in output
    code, output = tool('make_long_tailed', tmp_path / 'all.txt', tmp_path / 'other.txt', '--imbalance-factor', 99,
                        cwd=tmp_path)
    assert code == 1 and 'imbalance_factor=99' in output and not (tmp_path / 'other.txt').exists()
