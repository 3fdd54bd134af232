import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tool_process import run_tool

from nbn_mm.utils.hosts import host_error

KEYS = ['place', 'setting', 'ours', 'baseline', 'unit', 'ratio', 'equal', 'peak_bytes', 'hardware']
TINY = ('--runs', '1', '--images', '40', '--images-per-run', '16')
pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')


def cifar_pipeline(cwd, *args):
    return run_tool('benchmarks/cifar_pipeline.py', *TINY, *args, cwd=cwd)


@pytest.mark.parametrize('size', ['32', '24'])
def test_cifar_pipeline(tmp_path, size):
    code, output = cifar_pipeline(tmp_path, '--batch', '8', '16', '--size', size, '--json', 'out.json')
    assert code == 0, output
    records = json.loads((tmp_path / 'out.json').read_text())
    assert [record['setting'] for record in records] == [
        f'batch {batch}, {size} pixels, {what}' for batch in (8, 16)
        for what in ('beside host', 'beside Pillow', 'tensor operations a batch')]
    for record in records:
        assert list(record) == KEYS and record['place'] == 'CIFAR augmentation' and record['ours'] > 0
        if record['unit'] == 'images/s':
            assert record['equal'] is True and record['ratio'] * record['baseline'] == pytest.approx(record['ours'])
        else:
            assert record['unit'] == 'operations' and record['equal'] is None and record['baseline'] is None


@pytest.mark.parametrize('args, message', [
    (('--batch', '0'), 'must be at least 1'),
    (('--data-root', 'nowhere'), 'error: --data-root=nowhere: '),
    (('--data-root', '.', '--size', '64'), 'error: --size=64: the images under --data-root are 32 pixels wide'),
])
def test_wrong_options(tmp_path, args, message):
    code, output = cifar_pipeline(tmp_path, *args)
    assert code == 1 and message in output and 'Traceback' not in output


def test_equal_is_computed(tmp_path):
    """A batch that differs in one value from Pillow's is told."""
    script = tmp_path / 'wrong.py'
    tools = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'
    script.write_text(f'''
import runpy, sys
sys.path.insert(0, {str(tools)!r})
from nbn_mm.datasets.transforms import batched_geometry
apply = batched_geometry.BatchedCutout.apply
def wrong(self, images, drawn):
    out = apply(self, images, drawn)
    out[-1, 0, 0, 0] += 1
    return out
batched_geometry.BatchedCutout.apply = wrong
runpy.run_path({str(tools / 'cifar_pipeline.py')!r}, run_name='__main__')
''')
    code, output = run_tool(script, *TINY, '--batch', '8', cwd=tmp_path)
    assert code == 0 and 'equal: False' in output and 'equal: True' not in output, output


def test_generated_images_are_as_photographs(monkeypatch):
    monkeypatch.setattr(sys, 'path', [*sys.path, str(Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks')])
    from cifar_images import natural_images
    images = natural_images(20, 32)
    assert images.shape == (20, 32, 32, 3) and images.dtype == np.uint8
    values = images.astype(float)
    assert (values.std((1, 2)) > 5).all() and len(np.unique(images)) > 200
    assert np.abs(np.diff(values, axis=2)).mean() < 0.5 * values.std((1, 2)).mean(), 'neighbours are related'
    assert np.array_equal(images, natural_images(20, 32)) and not np.array_equal(images[0], images[1])
