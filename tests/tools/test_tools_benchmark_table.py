import gc
import json
import os
import sys
from pathlib import Path

import pytest
from tool_process import ROOT, run_tool

sys.path.insert(0, str(ROOT / 'tools' / 'benchmarks'))
from harness import Timing, compare, finish, interleave, paired_ratio  # noqa: E402

sys.path.remove(str(ROOT / 'tools' / 'benchmarks'))


def timing(*seconds):
    return Timing(list(seconds), [0] * len(seconds))


def test_turns_alternate_and_pair():
    calls = []
    results = interleave(dict(a=lambda: calls.append('a'), b=lambda: calls.append('b')), runs=3, warmup=1)
    assert calls == ['b', 'a', 'a', 'b', 'b', 'a', 'a', 'b']
    assert [len(side.seconds) for side in results.values()] == [3, 3]


def test_peak_of_a_run():
    held = []
    gc.collect()  # what other tests left, freed within the run, would count against it
    results = interleave(dict(large=lambda: held.append(bytearray(b'1' * 2**27)), small=lambda: None), 1, warmup=0)
    assert results['large'].peak > 2**25 > results['small'].peak


def test_ratio_is_of_pairs():
    """A machine that slows down for a pair changes both of it: the paired ratio stays, that of the medians does not."""
    ratio, low, high = paired_ratio(timing(2, 20, 4), timing(1, 10, 2))
    assert ratio == low == high == 2
    ratio, low, high = paired_ratio(timing(1, 2, 3, 4, 5), timing(1, 1, 1, 1, 1))
    assert (ratio, low, high) == (3, 1, 5)


def test_record_of_a_speed_and_of_a_cost(capsys):
    ours, baseline = timing(1, 2, 3), timing(2, 4, 6)
    record = compare('place', 'setting', ours, baseline, equal=True, items=10, unit='images/s')
    assert (record.ours, record.baseline, record.ratio, record.unit) == (5, 2.5, 2, 'images/s')
    record = compare('place', 'setting', ours, baseline, equal=None, cost=True)
    assert (record.ours, record.baseline, record.ratio, record.unit) == (2000, 4000, 0.5, 'ms')
    assert 'cost, ours / baseline 0.500' in capsys.readouterr().out


def test_table(tmp_path):
    records = [compare('Here', f'size {size}', timing(1, 1), timing(size, size), equal=equal, unit='s')
               for size, equal in ((2000, True), (1.01, None), (3, False))]
    finish(records, tmp_path / 'one.json')
    code, output = run_tool('benchmarks/make_table.py', 'one.json', cwd=tmp_path)
    assert code == 0
    assert '| size 2000 | 1 | 2,000 | s | 2e+03 | yes | 0 |' in output
    assert '| size 1.01 | 1 | 1.01 | s | 1.010 | – | 0 |' in output and '| **no** |' in output
    assert output.count('**Here**') == 1


@pytest.mark.parametrize('content', ['', '{"a": 1}', '[{"place": 1}]'])
def test_table_of_other_files(tmp_path, content):
    Path(tmp_path / 'wrong.json').write_text(content)
    code, output = run_tool('benchmarks/make_table.py', 'wrong.json', cwd=tmp_path)
    assert code == 1 and 'holds no records of a benchmark' in output
    code, output = run_tool('benchmarks/make_table.py', 'absent.json', cwd=tmp_path)
    assert code == 1 and 'no such file: absent.json' in output


def test_json_keys(tmp_path):
    finish([compare('Here', 'x', timing(1), timing(1), equal=True)], tmp_path / 'one.json')
    assert list(json.loads((tmp_path / 'one.json').read_text())[0]) == [
        'place', 'setting', 'ours', 'baseline', 'unit', 'ratio', 'equal', 'peak_bytes', 'hardware']


def test_fresh_process(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'benchmarks')
    from fresh_process import in_process
    assert in_process('pairs', dict, [('seconds', 1)]) == dict(seconds=1)
    with pytest.raises(RuntimeError, match='(?s)number failed:.*invalid literal'):
        in_process('number', int, 'none')
    with pytest.raises(RuntimeError, match='gone failed:\nexit code 3'):
        in_process('gone', os._exit, 3)
