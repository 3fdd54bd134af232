import json

import pytest
from tool_process import run_tool

KEYS = ['place', 'setting', 'ours', 'baseline', 'unit', 'ratio', 'equal', 'peak_bytes', 'hardware']
TINY = ['--batch', '4', '--size', '8', '--steps', '1', '--runs', '2']


@pytest.fixture(autouse=True)
def host():
    pytest.importorskip('mmpretrain', reason='the benchmark runs a network of mmpretrain')


def test_nbn_step(tmp_path):
    code, output = run_tool('benchmarks/nbn_step.py', *TINY, '--model', 'resnet32', '--json', 'out.json', cwd=tmp_path)
    assert code == 0, output
    records = json.loads((tmp_path / 'out.json').read_text())
    how = 'resnet32, batch 4, 8 px, eager'
    assert [record['setting'] for record in records] == [
        f'training step, {how}, NBN', f'training step, {how}, NBN + LR', f'evaluation, {how}, against BN',
        f'evaluation, {how}, against folded']
    assert [record['equal'] for record in records] == [None, None, None, True]
    for record in records:
        assert list(record) == KEYS and record['place'] == 'NBN itself' and record['unit'] == 'ms'
        assert record['ours'] > 0 and record['baseline'] > 0 and record['ratio'] > 0


def test_one_part_of_resnet50_with_few_classes(tmp_path):
    code, output = run_tool('benchmarks/nbn_step.py', *TINY, '--size', '32', '--model', 'resnet50', '--classes', '7',
                            '--part', 'eval', '--json', 'out.json', cwd=tmp_path)
    assert code == 0, output
    records = json.loads((tmp_path / 'out.json').read_text())
    assert len(records) == 2 and records[1]['equal'] is True and 'resnet50, batch 4, 32 px' in records[1]['setting']


def test_compound_batch_normalisation(tmp_path):
    code, output = run_tool('benchmarks/nbn_step.py', *TINY, '--model', 'resnet32', '--part', 'compound', '--json',
                            'out.json', cwd=tmp_path)
    assert code == 0, output
    records = json.loads((tmp_path / 'out.json').read_text())
    assert [record['setting'].rpartition(', ')[2] for record in records] == ['compound path', 'compound and split path']
    assert all(record['place'] == 'CompoundBN' and record['ratio'] > 0 for record in records)


def test_wrong_options(tmp_path):
    code, output = run_tool('benchmarks/nbn_step.py', '--batch', '0', cwd=tmp_path)
    assert code == 1 and '--batch, --size, --steps and --classes must be at least 1' in output
