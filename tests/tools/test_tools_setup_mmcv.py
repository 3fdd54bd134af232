"""Set-up: mmcv from a ready wheel or from source. pip and the compiler are played."""
import sys
from dataclasses import replace

import check_ops
import mmcv_build
import pytest
import running
from running import SetupError
from setup_machine import TORCH, program


class Pip:
    """Records what pip is asked; ``missing`` calls fail as pip does without a fitting file."""

    def __init__(self, folder, missing=()):
        self.logs, self.build, self.root, self.python = folder, folder / 'build', folder, sys.executable
        self.state, self.packages = folder / 'state', folder / 'packages'
        self.state.mkdir(exist_ok=True)
        self.missing, self.calls = missing, []

    def python_version(self):
        return f'{sys.version_info[0]}.{sys.version_info[1]}'

    def site_packages(self):
        return self.packages

    def pip(self, *arguments, name, **kwargs):
        self.calls.append(arguments[0])
        text = 'ERROR: No matching distribution found' if arguments[0] in self.missing else 'Processing a/mmcv-1.whl'
        (self.logs / f'{name}.log').write_text(text)
        if arguments[0] in self.missing:
            raise SetupError(text)


def test_ready_wheel_that_serves(tmp_path, monkeypatch, capsys):
    setup = Pip(tmp_path)
    monkeypatch.setattr(mmcv_build, 'check_ops', lambda setup, device: (True, f'right on {device}'))
    mmcv_build.install(setup, 'onedl-mmcv==2.3.6', TORCH, 'cpu')
    assert setup.calls == ['install'] and 'mmcv-1.whl: right on cpu' in capsys.readouterr().out


@pytest.mark.parametrize(
    'change, calls',
    [
        ('nothing', []),
        ('torch', ['install']),
        ('pin', ['install']),
        ('removed', ['install']),
        ('broken', ['install']),
    ],
)
def test_mmcv_that_serves_is_kept(tmp_path, monkeypatch, capsys, change, calls):
    monkeypatch.setattr(mmcv_build, 'check_ops', lambda setup, device: (True, 'right'))
    mmcv_build.install(Pip(tmp_path), 'onedl-mmcv==2.3.6', TORCH, 'cpu')
    metadata = tmp_path / 'packages' / 'onedl_mmcv-2.3.6.dist-info'
    if change != 'removed':
        metadata.mkdir(parents=True)
    answers = [(False, 'undefined symbol')] if change == 'broken' else []
    monkeypatch.setattr(mmcv_build, 'check_ops', lambda setup, device: answers.pop() if answers else (True, 'right'))
    torch = replace(TORCH, version='2.12.0') if change == 'torch' else TORCH
    pin = 'onedl-mmcv==2.3.7' if change == 'pin' else 'onedl-mmcv==2.3.6'
    setup = Pip(tmp_path)
    mmcv_build.install(setup, pin, torch, 'cpu')
    assert setup.calls == calls
    assert ('kept as it stands' in capsys.readouterr().out) is (not calls)


def test_ready_wheel_of_another_torch_is_removed(tmp_path, monkeypatch, capsys):
    setup, answers = Pip(tmp_path), [(False, 'undefined symbol'), (True, 'right')]
    monkeypatch.setattr(mmcv_build, 'check_ops', lambda setup, device: answers.pop(0))
    monkeypatch.setattr(mmcv_build, 'compile_wheel', lambda *args: setup.calls.append('compile') or 'mmcv.whl')
    mmcv_build.install(setup, 'onedl-mmcv==2.3.6', TORCH, 'cpu')
    assert setup.calls == ['install', 'uninstall', 'compile', 'install']
    assert 'does not serve here (undefined symbol)' in capsys.readouterr().out


def test_compiled_ops_that_are_wrong(tmp_path, monkeypatch):
    setup = Pip(tmp_path)
    monkeypatch.setattr(mmcv_build, 'install_ready', lambda *args: False)
    monkeypatch.setattr(mmcv_build, 'compile_wheel', lambda *args: args[-1].mkdir(parents=True) or 'mmcv.whl')
    monkeypatch.setattr(mmcv_build, 'check_ops', lambda setup, device: (False, 'nms kept [0]'))
    with pytest.raises(SetupError, match=r'its ops fail on cpu: nms kept \[0\]'):
        mmcv_build.install(setup, 'onedl-mmcv==2.3.6', TORCH, 'cpu')


def test_no_ready_wheel_and_no_nvcc_stops_before_compiling(tmp_path, machine):
    setup = Pip(tmp_path, missing=['install'])
    with pytest.raises(SetupError, match='NBN_MM_OPS=cpu'):
        mmcv_build.install(setup, 'onedl-mmcv==2.3.6', TORCH, 'cuda')
    assert setup.calls == ['install']


def test_no_compiler(tmp_path, machine, monkeypatch):
    setup = Pip(tmp_path)
    with pytest.raises(SetupError, match='there is no C\\+\\+ compiler .* apt install g\\+\\+'):
        mmcv_build.check_compiler(setup)
    monkeypatch.setenv('CXX', 'g++-99')
    with pytest.raises(SetupError, match='CXX=g\\+\\+-99 is not there'):
        mmcv_build.check_compiler(setup)


def test_compiler_and_headers(tmp_path, machine, monkeypatch):
    setup = Pip(tmp_path)
    setup.python = program(tmp_path, 'python', f'echo {tmp_path}/include')
    program(machine, 'c++', 'echo "error: unrecognized option -std=c++17" >&2; exit 1')
    with pytest.raises(SetupError, match='headers of Python .* are not in'):
        mmcv_build.check_compiler(setup)
    (tmp_path / 'include').mkdir()
    (tmp_path / 'include' / 'Python.h').touch()
    with pytest.raises(SetupError, match=r'(?s)g\+\+ 9 or later.*unrecognized option'):
        mmcv_build.check_compiler(setup)
    program(machine, 'c++', 'exit 0')
    mmcv_build.check_compiler(setup)


@pytest.mark.parametrize('cpus, gib, jobs', [(2, 24, 2), (16, 8, 4), (4, 1, 1)])
def test_default_jobs(cpus, gib, jobs):
    assert mmcv_build.default_jobs(cpus, gib * running.GIB) == jobs


def test_count_objects(tmp_path):
    assert mmcv_build.count_objects(tmp_path) == (0, 0)
    build = tmp_path / 'build' / 'temp.linux' / 'ops'
    build.mkdir(parents=True)
    (build.parent / 'build.ninja').write_text('rule compile\nbuild a.o: compile a.cpp\nbuild b.o: compile b.cpp\n')
    (build / 'a.o').touch()
    assert mmcv_build.count_objects(tmp_path) == (1, 2)


def test_check_ops(monkeypatch, capsys):
    ops = pytest.importorskip('mmcv.ops', reason='mmcv has no compiled ops here')
    check_ops.main('cpu')
    assert 'nms and roi_align are right on cpu' in capsys.readouterr().out
    monkeypatch.setattr(ops, 'get_compiling_cuda_version', lambda: 'not available')
    with pytest.raises(AssertionError, match='ops for the CPU alone'):
        check_ops.main('cuda')
    right = ops.roi_align
    monkeypatch.setattr(ops, 'roi_align', lambda *args: right(*args[:-1], False))
    with pytest.raises(AssertionError, match='roi_align gave'):
        check_ops.main('cpu')
