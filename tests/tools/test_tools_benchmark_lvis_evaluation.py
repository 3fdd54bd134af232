import json

import pytest
from tool_process import run_tool

KEYS = ['place', 'setting', 'ours', 'baseline', 'unit', 'ratio', 'equal', 'peak_bytes', 'hardware']
SETTING = '8 images x 30 detections x 20 classes'


def lvis_evaluation(cwd, *args):
    return run_tool('benchmarks/lvis_evaluation.py', '--images', '8', '--dets', '30', '--classes', '20', *args, cwd=cwd)


def test_lvis_evaluation(tmp_path):
    """Beside the official package, beside the host's metric, and in two processes."""
    pytest.importorskip('mmdet', reason="compares with the host's metric")
    code, output = lvis_evaluation(tmp_path, '--runs', '1', '--iou', 'segm', 'both', '--json', 'out.json')
    assert code == 0, output
    records = json.loads((tmp_path / 'out.json').read_text())
    both = f'{SETTING}, bbox + segm end to end'
    assert [(record['setting'], record['unit'], record['equal']) for record in records] == [
        *((f'{name}{suffix}', unit, True) for name in (f'{SETTING}, segm', both) for suffix, unit in (
            ('', 's'), (', after the last image', 's'), (', peak memory', 'bytes'))),
        (f'{both}, bytes a rank sends for an image', 'bytes', None),
        (f'{both}, after the last image, 2 processes', 's', True)]
    for record in records:
        assert list(record) == KEYS and record['place'] == 'LVIS evaluation' and record['hardware'].endswith('1 thread')
    for record in records[:-1]:
        assert 0 < record['ours'] and record['ratio'] * record['ours'] == pytest.approx(record['baseline'])
    assert records[-1]['baseline'] is records[-1]['ratio'] is None
    assert 1 < records[-2]['ratio'] and records[-2]['ours'] < 4000
    assert both in output and 'of other areas in the host: lvis/segm_APl 0.' in output


def test_lvis_evaluation_refuses(tmp_path):
    code, output = lvis_evaluation(tmp_path, '--device', 'cuda')
    assert code == 1 and 'runs on the CPU' in output
    for option in ('--runs', '--images'):
        code, output = lvis_evaluation(tmp_path, option, '0')
        assert code == 1 and 'at least 1' in output
