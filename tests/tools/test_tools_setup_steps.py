"""Set-up: its steps, what an interrupted one leaves, and failures in plain words."""
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import cuda_ops
import mmcv_build
import prepare
import pytest
import running
from running import SetupError
from setup_machine import ROOT, TORCH


@pytest.mark.parametrize(
    'log, words',
    [
        ('NewConnectionError: Failed to establish a new connection: [Errno -3]', 'could not be reached'),
        (
            'Temporary failure in name resolution\nERROR: No matching distribution found for torch',
            'could not be reached',
        ),
        ('ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device', 'disk is full'),
        ('SSLError(SSLCertVerificationError(1, CERTIFICATE_VERIFY_FAILED', 'certificate'),
        ('ERROR: No matching distribution found for torch==2.11.0', 'no fitting file'),
        ('ERROR: ResolutionImpossible: for help visit', 'no fitting file'),
        ('c++: fatal error: Killed signal terminated program cc1plus', 'MAX_JOBS=1'),
        ('fatal error: Python.h: No such file or directory', 'headers of Python'),
        ('all is well', ''),
    ],
)
def test_explain_failure(log, words):
    advice = running.explain_failure(log)
    assert words in advice and bool(words) == bool(advice)


def test_run_tells_progress_and_failure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(running, 'HEARTBEAT_SECONDS', 0.3)
    running.run(
        [sys.executable, '-c', 'import time; print("step one", flush=True); time.sleep(0.9)'], tmp_path / 'a.log'
    )
    assert 'step one' in capsys.readouterr().out
    with pytest.raises(SetupError, match=r'(?s)disk is full.*exit status 3.*b\.log.*\| No space left on device'):
        running.run([sys.executable, '-c', 'print("No space left on device"); exit(3)'], tmp_path / 'b.log')


def test_check_disk(tmp_path):
    running.check_disk([(tmp_path / 'not' / 'yet', 0.0, 'nothing')])
    with pytest.raises(
        SetupError, match=r'(?s)2000000\.0 GiB are needed.*1500000\.0 GiB in .* for objects.*500000.*wheels'
    ):
        running.check_disk([(tmp_path / 'a', 1.5e6, 'objects'), (tmp_path, 5e5, 'wheels')])


class FakeSetup(prepare.Setup):
    """The steps with pip played by a list of calls."""

    def __init__(self, root, calls):
        super().__init__(root)
        self.calls, self.stop_at, self.works, self.ops = calls, None, True, TORCH

    def python_version(self):
        return '3.11' if self.state.is_dir() else None

    def make_venv(self):
        self.calls.append('venv')
        (self.venv / 'lib/python3.11/site-packages').mkdir(parents=True)
        self.state.mkdir(parents=True)

    def pip(self, *arguments, name, **kwargs):
        if name == self.stop_at:
            raise KeyboardInterrupt
        self.calls.append(name)

    def torch(self):
        return self.ops

    def probe(self):
        return self.ops if self.works else None


@pytest.fixture
def steps(tmp_path, monkeypatch):
    (tmp_path / 'requirements').mkdir()
    for path in (ROOT / 'requirements').glob('*.txt'):
        shutil.copy(path, tmp_path / 'requirements')
    (tmp_path / 'nbn_mm').mkdir()
    for name in ('setup.py', 'nbn_mm/version.py'):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(prepare, 'REQUIREMENTS', tmp_path / 'requirements')
    monkeypatch.setattr(mmcv_build, 'install', lambda setup, pin, torch, device: setup.pip(name=f'mmcv {pin} {device}'))
    monkeypatch.setattr(cuda_ops, 'find_gpu', lambda: None)
    for name in ('NBN_MM_OPS', 'FORCE_CUDA'):
        monkeypatch.delenv(name, raising=False)

    def run(**kwargs):
        calls = []
        setup = FakeSetup(tmp_path, calls)
        vars(setup).update(kwargs)
        try:
            setup.run()
        except KeyboardInterrupt:
            calls.append('interrupted')
        finally:
            setup.lock.close()
        return calls

    return SimpleNamespace(run=run, root=tmp_path)


MMCV = 'mmcv onedl-mmcv==2.3.6 cpu'


def test_all_steps_then_none(steps, capsys):
    assert steps.run() == ['venv', 'build', 'torch', 'packages', MMCV, 'project']
    assert steps.run() == []
    assert '.venv is ready (checked in' in capsys.readouterr().out


@pytest.mark.parametrize(
    'stop_at, before, after',
    [
        ('build', ['venv'], ['build', 'torch', 'packages', MMCV, 'project']),
        ('packages', ['venv', 'build', 'torch'], ['packages', MMCV, 'project']),
        (MMCV, ['venv', 'build', 'torch', 'packages'], [MMCV, 'project']),
        ('project', ['venv', 'build', 'torch', 'packages', MMCV], ['project']),
    ],
)
def test_interrupted_set_up_goes_on(steps, stop_at, before, after):
    assert steps.run(stop_at=stop_at) == [*before, 'interrupted']
    assert steps.run() == after
    assert steps.run() == []


def test_changed_requirements_redo_what_they_touch(steps):
    steps.run()
    path = steps.root / 'requirements' / 'onedl.txt'
    path.write_text(path.read_text().replace('onedl-mmcv==2.3.6', 'onedl-mmcv==2.3.7'))
    assert steps.run() == ['mmcv onedl-mmcv==2.3.7 cpu', 'project']
    path.write_text(path.read_text().replace('torch==2.11.0', 'torch==2.12.0'))
    assert steps.run() == ['torch', 'packages', 'mmcv onedl-mmcv==2.3.7 cpu', 'project']


def test_a_gpu_redoes_the_ops_and_cuda_ops_serve_the_cpu(steps, monkeypatch):
    steps.run()
    monkeypatch.setenv('NBN_MM_OPS', 'cuda')
    assert steps.run() == ['mmcv onedl-mmcv==2.3.6 cuda', 'project']
    monkeypatch.delenv('NBN_MM_OPS')
    assert steps.run() == []


def test_the_choice_of_ops_is_remembered(tmp_path, monkeypatch):
    setup = prepare.Setup(tmp_path)
    setup.take_lock()
    monkeypatch.delenv('NBN_MM_OPS', raising=False)
    setup.remember_ops()
    assert 'NBN_MM_OPS' not in os.environ
    for choice in ('cpu', 'auto'):
        monkeypatch.setenv('NBN_MM_OPS', choice)
        setup.remember_ops()
        monkeypatch.delenv('NBN_MM_OPS')
        setup.remember_ops()
        assert os.environ['NBN_MM_OPS'] == choice


def test_packages_that_no_longer_import_are_mended(steps):
    steps.run()
    assert steps.run(works=False) == ['build', 'torch', 'packages', MMCV, 'project']


def test_two_set_ups_wait_for_each_other(steps):
    first = FakeSetup(steps.root, [])
    first.take_lock()
    script = (
        f'import sys; sys.path.insert(0, {str(ROOT / "tools/setup")!r}); import prepare; from pathlib import Path; '
        f'prepare.Setup(Path({str(steps.root)!r})).take_lock(); print("mine")'
    )
    second = subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, text=True)
    assert 'waiting' in second.stdout.readline()
    first.lock.close()
    assert second.communicate(timeout=30)[0].strip() == 'mine'


def test_half_installed_packages_are_found(tmp_path):
    for name, record in (
        ('whole-1.0', 'whole.py,,\nwhole-1.0.dist-info/INSTALLER,,\nwhole-1.0.dist-info/RECORD,,\n'),
        ('cut-1.0', 'cut.py,sha256=1,3\ncut-1.0.dist-info/RECORD,,\n'),
        ('bare-1.0', None),
    ):
        info = tmp_path / f'{name}.dist-info'
        info.mkdir()
        (info / 'METADATA').touch()
        if record:
            (info / 'RECORD').write_text(record)
    (tmp_path / '~orch').mkdir()
    assert sorted(prepare.remove_half_installed(tmp_path)) == ['bare-1.0.dist-info', 'cut-1.0.dist-info', '~orch']
    assert [p.name for p in tmp_path.iterdir()] == ['whole-1.0.dist-info']


def test_half_made_venv_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, 'run', lambda command, log: None)
    setup = prepare.Setup(tmp_path)
    setup.state.mkdir(parents=True)
    (setup.venv / 'bin').mkdir()
    setup.python.symlink_to(tmp_path / 'gone')
    assert setup.python_version() is None
    monkeypatch.setattr(prepare, 'VENV_GIB', 0)
    monkeypatch.setattr(prepare, 'CACHE_GIB', 0)
    monkeypatch.setattr(prepare, 'TEMPORARY_GIB', 0)
    setup.make_venv()
    assert setup.state.is_dir() and not setup.python.is_symlink()
    monkeypatch.setattr(prepare, 'VENV_GIB', 1e7)
    with pytest.raises(SetupError, match='Too little disk space'):
        setup.make_venv()
