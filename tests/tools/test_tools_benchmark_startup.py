import json

import pytest
from tool_process import ROOT, run_tool

KEYS = ['place', 'setting', 'ours', 'baseline', 'unit', 'ratio', 'equal', 'peak_bytes', 'hardware']
TOOL = 'benchmarks/startup.py'


@pytest.fixture
def startup(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools/benchmarks'))
    import startup
    return startup


def test_a_tool_beside_the_registration(tmp_path):
    args = ('--only', 'make_shapes_lvis', '--quick', '--runs', '1', '--json', 'out.json')
    code, output = run_tool(TOOL, *args, cwd=tmp_path)
    assert code == 0, output
    record, = json.loads((tmp_path / 'out.json').read_text())
    assert list(record) == KEYS and record['place'] == 'start-up' and record['equal'] is True and record['unit'] == 's'
    assert record['ratio'] == pytest.approx(record['baseline'] / record['ours']) and record['ratio'] > 0
    assert 0 < record['peak_bytes'] < 2**31


def test_results_are_compared(startup, capsys):
    def process(loss):
        return startup.Process('-c', f'print("loss: {loss}  time: 1")', check=startup.losses)

    assert startup.compare('a', process(2.5), process(2.5), 1, 0).equal is True
    assert startup.compare('a', process(2.5), process(2.4), 1, 0).equal is False
    nothing = startup.Process('-c', 'pass', check=startup.losses)
    assert startup.compare('a', nothing, nothing, 1, 0).equal is False
    plain = startup.Process('-c', 'pass')
    assert startup.compare('a', plain, plain, 1, 0).equal is None
    with pytest.raises(RuntimeError, match='failed:\nno such thing'):
        startup.Process('-c', 'import sys; sys.exit("no such thing")').measure('cpu')


def test_peak_of_a_process(startup):
    _, little = startup.Process('-c', 'import time; time.sleep(0.1)').measure('cpu')
    _, much = startup.Process('-c', 'import time; a = bytearray(300_000_000); time.sleep(0.1)').measure('cpu')
    if little:  # Linux
        assert 250e6 < much - little < 350e6


def test_checkpoints(startup, tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmpretrain', reason='trains with mmpretrain')

    def train(process, device):
        *_, config, option, folder = process.command
        code, output = run_tool('train.py', config, option, folder, cwd=tmp_path)
        assert code == 0, output

    monkeypatch.setattr(startup.Process, 'measure', train)
    record = startup.checkpoint_size(startup.write_configs(tmp_path), tmp_path)
    assert record.ours == (tmp_path / 'nbn/iter_1.pth').stat().st_size
    assert record.baseline == (tmp_path / 'host/iter_1.pth').stat().st_size
    assert record.ratio == pytest.approx(1, abs=1e-3)
    output = capsys.readouterr().out
    assert 'meta.class_counts' in output and 'bytes after 13,000 iterations' in output


def test_log_history(tmp_path):
    code, output = run_tool(TOOL, '--only', 'log_history', '--runs', '2', '--json', 'out.json', cwd=tmp_path)
    assert code == 0, output
    update, size = json.loads((tmp_path / 'out.json').read_text())
    assert update['equal'] is True and size['equal'] is True and update['unit'] == 'ms'
    assert size['baseline'] > 12 * 16 * 600000 and 12 * 16 * 1000 < size['ours'] < 12 * 16 * 1400


def test_refused_arguments(tmp_path):
    code, output = run_tool(TOOL, '--runs', '0', cwd=tmp_path)
    assert code == 1 and 'at least 1' in output
    code, output = run_tool(TOOL, '--device', 'cuda', cwd=tmp_path)
    assert code == 1 and 'CUDA' in output.upper()
