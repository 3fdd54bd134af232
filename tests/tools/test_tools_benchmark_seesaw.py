import json

import pytest
from tool_process import run_tool

from nbn_mm.utils.hosts import host_error

KEYS = ['place', 'setting', 'ours', 'baseline', 'unit', 'ratio', 'equal', 'peak_bytes', 'hardware']
needs_both = pytest.mark.skipif(any(host_error(host) is not None for host in ('mmdet', 'mmpretrain')),
                                reason='the losses of both hosts are the baselines')


def seesaw(cwd, *args):
    return run_tool('benchmarks/seesaw.py', '--rows', '16', '8', '--classes', '30', '--calls', '1', '--runs', '2',
                    *args, cwd=cwd)


@needs_both
def test_seesaw(tmp_path):
    code, output = seesaw(tmp_path, '--json', 'out.json')
    assert code == 0, output
    records = json.loads((tmp_path / 'out.json').read_text())
    starts = ['16 proposals x 30 classes', '8 proposals x 30 classes', '16 proposals x 30 classes, 5 labels',
              'classifier, 16 images x 100 classes', 'classifier, 16 images x 1000 classes']
    assert [record['unit'] for record in records] == ['ms', 'bytes'] * 5
    for record, start in zip(records, [start for start in starts for _ in range(2)], strict=True):
        assert list(record) == KEYS and record['setting'].startswith(start) and record['place'] == 'Seesaw loss'
        assert record['equal'] is True and record['ours'] > 0 and record['ratio'] > 0 and record['peak_bytes'] > 0
        assert ('peak memory' in record['setting']) == (record['unit'] == 'bytes')
        if record['unit'] == 'bytes' and record['setting'].startswith('classifier, 16 images x 1000'):
            # the host's matrix of all pairs of classes, of which there is more than one
            assert record['baseline'] > 4 * 1000**2 > record['ours']


def test_seesaw_refuses_sizes(tmp_path):
    code, output = seesaw(tmp_path, '--calls', '0')
    assert code == 1 and '--calls=0 must be at least 1' in ' '.join(output.split())
