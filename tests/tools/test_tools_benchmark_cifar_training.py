import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tool_process import run_tool

from nbn_mm.utils.hosts import host_error

KEYS = ['place', 'setting', 'ours', 'baseline', 'unit', 'ratio', 'equal', 'peak_bytes', 'hardware']
pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')


def cifar_training(cwd, *args):
    return run_tool('benchmarks/cifar_training.py', *args, cwd=cwd)


def test_cifar_training(tmp_path):
    code, output = cifar_training(
        tmp_path, '--quick', '--thin', '--runs', '1', '--batch', '16', '--iterations', '2', '--turns', '2',
        '--per-class', '120', '--settings', 'channels_last+bf16', '--json', 'out.json')
    assert code == 0, output
    first, *others = json.loads((tmp_path / 'out.json').read_text())
    setting = 'mean colours, batch 16, channels_last+bf16'
    assert list(first) == KEYS and first['place'] == 'CIFAR-LT training' and first['setting'] == setting
    assert first['equal'] is True and first['unit'] == 'images/s' and first['ours'] > 0
    assert first['ratio'] == pytest.approx(first['ours'] / first['baseline'])
    names = [record['setting'].removeprefix(f'{setting}: ') for record in others]
    assert names == ['13,000 iterations, extrapolated', 'share of the data', 'one evaluation', 'first iteration']
    assert others[0]['ours'] == pytest.approx(13000 * 16 / first['ours'])
    assert 0 < others[1]['ours'] < 100 and others[1]['ratio'] is None


@pytest.mark.parametrize(('args', 'text'), [
    (['--settings', 'plain', 'fast'], '--settings fast is unknown; there are plain, channels_last'),
    (['--data-root', '.'], '--data-root=. holds no cifar-10-batches-py'), (['--batch', '0'], '--batch'),
    (['--workers', '-1'], 'at least 1')])
def test_wrong_options(tmp_path, args, text):
    code, output = cifar_training(tmp_path, *args)
    assert code == 1 and output.startswith('error: ') and text in output


def test_a_run_that_fails_ends_those_that_wait_for_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / 'tools' / 'benchmarks'))
    from cifar_training import Trainer
    (tmp_path / 'output.txt').write_text('out of memory')
    trainer = Trainer(SimpleNamespace(per_class=1, iterations=1, batch=1), tmp_path, '')
    commands = iter(['import time; time.sleep(300)', 'raise SystemExit(3)'])
    monkeypatch.setattr(Trainer, 'start', lambda *args, **kwargs: (
        subprocess.Popen([sys.executable, '-c', next(commands), str(tmp_path)]), tmp_path / 'times.json'))
    with pytest.raises(SystemExit, match='ended with 3:\nout of memory'):
        trainer.together(2, '')
