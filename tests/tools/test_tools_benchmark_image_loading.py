import json

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from tool_process import ROOT, run_tool

TOOL = 'benchmarks/image_loading.py'
KEYS = ['place', 'setting', 'ours', 'baseline', 'unit', 'ratio', 'equal', 'peak_bytes', 'hardware']


def records_of(path, place='images from disk'):
    records = json.loads(path.read_text())
    for record in records:
        assert list(record) == KEYS and record['place'] == place
        assert record['ours'] > 0 and record['ratio'] > 0 and record['peak_bytes'] >= 0
    return {record['setting']: record for record in records}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('photographs')
    for i, size in enumerate([(600, 640), (700, 600), (1300, 2700)]):
        image = Image.fromarray(load_sample_images().images[i % 2])
        image.resize(size[::-1]).save(root / f'{i}.jpg', quality=90)
    return root


def test_on_a_folder(folder, tmp_path):
    pytest.importorskip('mmpretrain', reason='compares with mmpretrain')
    pytest.importorskip('mmdet', reason='compares with mmdet')
    code, output = run_tool(TOOL, '--images', folder, '--runs', '1', '--json', 'out.json', cwd=tmp_path)
    assert code == 0, output
    records = records_of(tmp_path / 'out.json')
    assert {key.removeprefix(f'{folder.name}, '): record['equal'] for key, record in records.items()} == {
        'train, table jitter': True, 'train, reduced': False, 'test, reduced': False, 'detection, reduced': False,
        'train, resized copy': False, 'test, resized copy': False}
    assert 'of the pixels differ' in output and 'PSNR' in output and 'bytes before' in output


def test_pictures_made_here(tmp_path):
    pytest.importorskip('mmpretrain', reason='compares with mmpretrain')
    pytest.importorskip('mmdet', reason='compares with mmdet')
    code, output = run_tool(TOOL, '--number', '2', '--runs', '1', '--json', 'out.json', cwd=tmp_path)
    assert code == 0, output
    records = records_of(tmp_path / 'out.json')
    assert len(records) == 18
    for setting, record in records.items():
        # at ImageNet's size nothing is reduced, and neither is a detector's picture that is enlarged
        same = 'jitter' in setting or 'reduced' in setting and setting.startswith('500x375') or \
            'detection' in setting and not setting.startswith('2560')
        assert record['equal'] is bool(same), setting


def test_differences_of_pixels(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools/benchmarks'))
    from image_loading import difference
    first = torch.zeros(3, 4, 5, dtype=torch.uint8)
    second = first.clone()
    second[1, 2, 3], second[2, 2, 3], second[0, 0, 0] = 30, 6, 24
    assert difference([first], [first]) == \
        '0.0% of the pixels differ, mean difference 0.00 of 255, largest 0, PSNR inf dB'
    # 2 of 20 pixels; (30 + 6 + 24) / 60; 10 log10(255^2 / ((900 + 36 + 576) / 60))
    assert difference([first], [second]) == \
        '10.0% of the pixels differ, mean difference 1.00 of 255, largest 30, PSNR 34.1 dB'
    assert difference([first], [second[:, :2]]) == 'the pictures are of other sizes'


@pytest.mark.skipif(not torch.cuda.is_available(), reason='decoding on a GPU: this machine has none')
def test_decoding_on_a_gpu(folder, tmp_path):
    args = ('--images', folder, '--runs', '1', '--device', 'cuda', '--json', 'out.json')
    code, output = run_tool(TOOL, *args, cwd=tmp_path)
    assert code == 0 and f'{folder.name}, decoding on the GPU' in records_of(tmp_path / 'out.json'), output


def test_wrong_arguments(tmp_path):
    for args, said in ((['--number', '0'], '--number=0 must be at least 1'), (['--runs', '0'], 'at least 1'),
                       (['--images', tmp_path], 'no .jpg or .jpeg file in it')):
        code, output = run_tool(TOOL, *args, cwd=tmp_path)
        assert code == 1 and said in output
    if not torch.cuda.is_available():
        code, output = run_tool(TOOL, '--device', 'cuda', cwd=tmp_path)
        assert code == 1 and 'this torch sees no CUDA device' in output
