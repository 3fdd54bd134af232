import json

import pytest
from tool_process import run_tool

KEYS = ['place', 'setting', 'ours', 'baseline', 'unit', 'ratio', 'equal', 'peak_bytes', 'hardware']


def lvis_evaluation(cwd, *args):
    return run_tool('benchmarks/lvis_evaluation.py', '--images', '8', '--dets', '30', '--classes', '20', *args, cwd=cwd)


def test_lvis_evaluation(tmp_path):
    code, output = lvis_evaluation(tmp_path, '--runs', '1', '--iou', 'segm', '--json', 'out.json')
    assert code == 0, output
    records = json.loads((tmp_path / 'out.json').read_text())
    setting = '8 images x 30 detections x 20 classes, segm'
    assert [record['setting'] for record in records] == [
        setting, f'{setting}, after the last image', f'{setting}, peak memory']
    for record in records:
        assert list(record) == KEYS and record['place'] == 'LVIS evaluation' and record['equal'] is True
        assert 0 < record['ours'] and record['ratio'] * record['ours'] == pytest.approx(record['baseline'])
    assert [record['unit'] for record in records] == ['s', 's', 'bytes'] and setting in output


def test_lvis_evaluation_on_a_gpu(tmp_path):
    code, output = lvis_evaluation(tmp_path, '--device', 'cuda')
    assert code == 1 and 'runs on the CPU' in output
    code, output = lvis_evaluation(tmp_path, '--runs', '0')
    assert code == 1 and 'at least 1' in output
