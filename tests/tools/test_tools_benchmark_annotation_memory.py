import json
from pathlib import Path

import pytest
from tool_process import run_tool

KEYS = ['place', 'setting', 'ours', 'baseline', 'unit', 'ratio', 'equal', 'peak_bytes', 'hardware']


def annotation_memory(cwd, *args):
    return run_tool('benchmarks/annotation_memory.py', *args, cwd=cwd)


@pytest.mark.skipif(not Path('/proc/self/smaps_rollup').is_file(), reason='needs Linux')
def test_annotation_memory(tmp_path):
    pytest.importorskip('mmdet', reason="compares with the host's data set")
    code, output = annotation_memory(tmp_path, '--images', '60', '--workers', '2', '--runs', '1', '--json', 'out.json')
    assert code == 0, output
    records = json.loads((tmp_path / 'out.json').read_text())
    settings = [record['setting'].split(' MB, ') for record in records]
    assert {images.split(', ')[0] for images, _ in settings} == {'60 images'}
    assert [what for _, what in settings] == [
        'load', 'peak while loading', 'kept after loading', 'process and 2 workers (fork) after a pass',
        'a worker for itself (fork) after a pass', 'reads of the file']
    for record in records:
        assert list(record) == KEYS and record['place'] == 'annotation memory' and record['equal'] is True
        assert record['ratio'] * record['ours'] == pytest.approx(record['baseline'])
    assert [record['unit'] for record in records] == ['s', *['bytes'] * 4, 'reads']
    assert records[0]['ours'] > 0 and (records[-1]['ours'], records[-1]['baseline']) == (1, 1)


def test_annotation_memory_refuses(tmp_path):
    for arguments, message in ((('--device', 'cuda'), 'has no meaning here'), (('--images', '0'), '--images=0'),
                               (('--workers', '0'), '--workers=0'), (('--runs', '0'), '--runs=0')):
        code, output = annotation_memory(tmp_path, *arguments)
        assert code == 1 and message in output
