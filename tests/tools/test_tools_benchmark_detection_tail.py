import json

import pytest
from tool_process import run_tool

from nbn_mm.utils.hosts import host_error

KEYS = ['place', 'setting', 'ours', 'baseline', 'unit', 'ratio', 'equal', 'peak_bytes', 'hardware']
SIZES = ('--proposals', '60', '--classes', '30', '--candidates', '100', '900', '--detections', '12', '--images', '2',
         '--convs', '1', '--width', '8', '--runs', '2')
pytestmark = pytest.mark.skipif(host_error('mmdet') is not None, reason="mmdet's heads are the baseline")


def detection_tail(cwd, *args):
    return run_tool('benchmarks/detection_tail.py', *SIZES, *args, cwd=cwd)


def test_detection_tail(tmp_path):
    code, output = detection_tail(tmp_path, '--json', 'out.json')
    assert code == 0, output
    records = json.loads((tmp_path / 'out.json').read_text())
    candidates = [f'{number} candidates, 60 x 30, {boxes}' for boxes in ('a box a class', 'one box for all classes')
                  for number in (100, 900)]
    masks = [f'mask logits, 12 detections x 30 classes, {predictor}{memory}' for predictor in ('Conv', 'NormedConv2d')
             for memory in ('', ', peak memory')]
    assert [record['setting'] for record in records] == [
        *candidates, 'paste and RLE, 12 detections in 640 x 480', *masks]
    for record in records:
        assert list(record) == KEYS and record['place'] == 'Detection tail' and record['equal'] is True
        assert record['unit'] == ('bytes' if 'peak memory' in record['setting'] else 'ms')
        assert record['ratio'] > 0 or record['unit'] == 'bytes'
    assert output.count('of 24 detections of 2 images are not those of NMS within classes') == 4
    assert output.count("explains all of mmdet's: True") == 4 and 'pixels differ at 0.5' in output


def test_part_and_wrong_sizes(tmp_path):
    code, output = detection_tail(tmp_path, '--quick', '--parts', 'paste')
    assert code == 0 and 'paste and RLE' in output and 'candidates' not in output
    code, output = detection_tail(tmp_path, '--candidates', '2000')
    assert code == 1 and '--candidates=2000 is more than --proposals=60 times --classes=30' in ' '.join(output.split())
