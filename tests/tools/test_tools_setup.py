"""Set-up: the decisions, the messages and the resuming. A GPU, nvcc and pip are played by small programs on PATH."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'setup'))

import check_environment  # noqa: E402
import check_ops  # noqa: E402
import cuda_ops  # noqa: E402
import mmcv_build  # noqa: E402
import prepare  # noqa: E402
import running  # noqa: E402
from cuda_ops import Torch, choose_device, compile_environment, find_gpu, find_nvcc, require_nvcc  # noqa: E402
from running import SetupError  # noqa: E402

TORCH = Torch('2.11.0+cu130', '13.0', True)
SMI = """case "$*" in *query-gpu*) echo 'Probe H1';; *) echo '| Driver Version: 580.1   CUDA Version: {} |';; esac"""


def program(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A PATH of its own, without nvcc or nvidia-smi; programs are added by the test."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    monkeypatch.setenv('PATH', str(folder))
    monkeypatch.setattr(cuda_ops, 'DEFAULT_NVCC', str(tmp_path / 'no' / 'nvcc'))
    for name in ('CUDA_HOME', 'CUDA_PATH', 'NBN_MM_OPS', 'FORCE_CUDA', 'CXX'):
        monkeypatch.delenv(name, raising=False)
    return folder


def nvcc(folder, version):
    return program(folder, 'nvcc', f"echo 'Cuda compilation tools, release {version}, V{version}.1'")


# -- device and nvcc
def test_cpu_without_nvidia_smi(machine):
    nvcc(machine, '13.0')
    assert find_gpu() is None and choose_device(TORCH) == 'cpu'


def test_cpu_with_failing_nvidia_smi(machine):
    program(machine, 'nvidia-smi', 'echo "NVIDIA-SMI has failed"; exit 9')
    assert find_gpu() is None and choose_device(TORCH) == 'cpu'


def test_cuda_with_gpu(machine):
    program(machine, 'nvidia-smi', SMI.format('13.0'))
    assert find_gpu() == dict(gpus=['Probe H1'], cuda='13.0')
    assert choose_device(TORCH) == 'cuda'
    assert choose_device(TORCH, dict(NBN_MM_OPS='cpu')) == 'cpu'


@pytest.mark.parametrize('environ', [dict(NBN_MM_OPS='cuda'), dict(FORCE_CUDA='1')])
def test_cuda_on_request_without_gpu(machine, environ):
    assert choose_device(Torch('2.11.0', '13.0', False), environ) == 'cuda'
    assert choose_device(TORCH, dict(environ, NBN_MM_OPS='cpu')) == 'cpu'


def test_torch_for_the_cpu_on_a_gpu_machine(machine):
    program(machine, 'nvidia-smi', SMI.format('13.0'))
    with pytest.raises(SetupError, match=r'(?s)torch 2\.11\.0\+cpu is a build for the CPU.*NBN_MM_OPS=cpu'):
        choose_device(Torch('2.11.0+cpu', None, False))


def test_old_driver(machine):
    program(machine, 'nvidia-smi', SMI.format('12.4'))
    with pytest.raises(SetupError, match=r'(?s)Probe H1.*CUDA 13\.0.*up to CUDA 12\.4.*NBN_MM_OPS=cpu'):
        choose_device(Torch('2.11.0', '13.0', False))


def test_unknown_ops():
    with pytest.raises(SetupError, match='NBN_MM_OPS=gpu is unknown'):
        choose_device(TORCH, dict(NBN_MM_OPS='gpu'))


def test_no_nvcc(machine):
    with pytest.raises(
        SetupError, match=r'(?s)none was found.*torch 2\.11\.0\+cu130 is built with CUDA 13\.0.*NBN_MM_OPS=cpu'
    ):
        require_nvcc(TORCH)


def test_nvcc_of_another_major(machine):
    nvcc(machine, '12.8')
    with pytest.raises(SetupError, match=r'(?s)nvcc is of CUDA 12\.8.*torch .* CUDA 13\.0.*majors.*NBN_MM_OPS=cpu'):
        require_nvcc(TORCH)


def test_nvcc_of_another_minor_serves(machine):
    path = nvcc(machine, '13.2')
    assert require_nvcc(TORCH) == str(path)


def test_cuda_home_comes_first(machine, tmp_path, monkeypatch):
    nvcc(machine, '12.8')
    path = nvcc(tmp_path / 'toolkit' / 'bin', '13.0')
    monkeypatch.setenv('CUDA_HOME', str(tmp_path / 'toolkit'))
    assert find_nvcc() == (str(path), '13.0') and require_nvcc(TORCH) == str(path)
    monkeypatch.setenv('CUDA_HOME', str(tmp_path / 'gone'))
    assert find_nvcc()[1] == '12.8'


def test_compile_environment(machine, tmp_path):
    assert compile_environment('cpu') == dict(MMCV_WITH_OPS='1', FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
    toolkit = tmp_path / 'toolkit'
    (toolkit / 'include').mkdir(parents=True)
    (toolkit / 'include' / 'cuda_runtime.h').touch()
    direct = nvcc(toolkit / 'bin', '13.0')
    wrapper = program(machine, 'nvcc', f'echo "#$ TOP={toolkit}" >&2')
    for path in (direct, wrapper):
        assert compile_environment('cuda', str(path)) == dict(MMCV_WITH_OPS='1', FORCE_CUDA='1', CUDA_HOME=str(toolkit))
    silent = program(machine, 'nvcc', 'exit 0')
    assert 'CUDA_HOME' not in compile_environment('cuda', str(silent))


# -- failures in plain words
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


# -- steps
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


# -- mmcv
class Pip:
    """Records what pip is asked; ``missing`` calls fail as pip does without a fitting file."""

    def __init__(self, folder, missing=()):
        self.logs, self.build, self.root, self.python = folder, folder / 'build', folder, sys.executable
        self.missing, self.calls = missing, []

    def python_version(self):
        return f'{sys.version_info[0]}.{sys.version_info[1]}'

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


# -- an active environment
def test_misfits(monkeypatch):
    versions = check_environment.load_versions()
    probe = versions.Package('nbn_probe', '1.0', '2', ('nbn-probe', 'onedl-nbn-probe'))
    table = {}
    monkeypatch.setattr(check_environment, 'installed', lambda package: table)
    assert check_environment.judge(versions, probe, True) == 'not installed'
    assert check_environment.judge(versions, probe, False) is None
    table = {'nbn-probe': '0.9'}
    assert check_environment.judge(versions, probe, False) == 'found 0.9'
    table = {'nbn-probe': '1.1', 'onedl-nbn-probe': '1.2'}
    assert 'overwrite each other: nbn-probe 1.1, onedl-nbn-probe 1.2' in check_environment.judge(versions, probe, True)
    table = {'nbn-probe': '1.1'}
    monkeypatch.setitem(sys.modules, 'nbn_probe', SimpleNamespace())
    assert check_environment.judge(versions, probe, True) is None
    monkeypatch.setattr(check_environment.importlib, 'import_module', lambda name: 1 / 0)
    assert 'fails to import: ZeroDivisionError' in check_environment.judge(versions, probe, True)


def tree(folder):
    return {(str(p), p.lstat().st_size) for p in folder.rglob('*') if '__pycache__' not in p.parts}


def shell(script, cwd=ROOT, *arguments, **env):
    base = {'PATH': '/usr/bin:/bin', 'HOME': str(cwd), 'OMP_NUM_THREADS': '1'}
    return subprocess.run(['bash', script, *arguments], cwd=cwd, env={**base, **env}, capture_output=True, text=True)


def test_unfit_environment_stops_and_stays_as_it_is(tmp_path):
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'env'], check=True)
    before = tree(tmp_path)
    result = shell('tools/run_tests.sh', VIRTUAL_ENV=str(tmp_path / 'env'))
    assert result.returncode == 1 and tree(tmp_path) == before
    for words in (
        'does not fit',
        'torch        not installed; needed >=2.0,<3',
        'mmengine',
        'pytest',
        'deactivate',
        'NBN_MM_ENV=venv',
    ):
        assert words in result.stdout, words
    result = shell('tools/quickstart.sh', CONDA_PREFIX=str(tmp_path / 'env'))
    assert result.returncode == 1 and 'CONDA_PREFIX=' in result.stdout and 'mmpretrain' in result.stdout


def test_fitting_environment_is_used(tmp_path):
    result = shell('tools/run_tests.sh', ROOT, '--version', NBN_MM_PYTHON=sys.executable, HOME=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert f'used as it is (NBN_MM_PYTHON={sys.executable})' in result.stdout
    assert 'pytest' in (result.stdout + result.stderr).splitlines()[-1]


@pytest.mark.parametrize(
    'env, words',
    [
        (dict(VIRTUAL_ENV='/no/such/env'), 'there is no interpreter /no/such/env/bin/python'),
        (dict(NBN_MM_PYTHON='/no/such/python'), 'NBN_MM_PYTHON=/no/such/python is no interpreter'),
        (dict(NBN_MM_ENV='conda'), 'NBN_MM_ENV=conda is unknown'),
    ],
)
def test_environment_that_is_not_there(env, words):
    result = shell('tools/run_tests.sh', **env)
    assert result.returncode == 1 and words in result.stderr


@pytest.fixture
def checkout(tmp_path):
    """The scripts alone, and a PATH with next to nothing on it."""
    shutil.copytree(ROOT / 'tools', tmp_path / 'p' / 'tools')
    for name in ('bash', 'dirname', 'ls'):
        (tmp_path / 'bin').mkdir(exist_ok=True)
        (tmp_path / 'bin' / name).symlink_to(shutil.which(name))
    return tmp_path / 'p'


def test_no_python_that_serves(checkout):
    folder = checkout.parent / 'bin'
    env = dict(PATH=str(folder))
    assert 'No python3 on PATH' in shell('tools/run_tests.sh', checkout, **env).stderr
    program(folder, 'python3', 'echo 3.8')
    program(folder, 'python3.12', 'case "$*" in *ensurepip*) exit 1;; *) echo 3.12;; esac')
    program(folder, 'python3.10', 'echo "pyenv: python3.10: command not found" >&2; exit 127')
    result = shell('tools/run_tests.sh', checkout, **env)
    assert result.returncode == 1
    for words in (
        'Python 3.10, 3.11 or 3.12 is needed',
        'python3 is 3.8',
        'without the modules venv and ensurepip',
        'python3.12-venv',
    ):
        assert words in result.stderr, words
    assert 'python3.10 is' not in result.stderr


def test_an_older_python3_is_passed_over(checkout):
    folder = checkout.parent / 'bin'
    program(folder, 'python3', 'echo 3.13')
    program(folder, 'python3.10', 'case "$*" in *prepare.py) echo "prepared by 3.10"; exit 7;; *) echo 3.10;; esac')
    result = shell('tools/run_tests.sh', checkout, PATH=str(folder))
    assert result.returncode == 7 and 'prepared by 3.10' in result.stdout


def test_the_active_dot_venv_does_not_mend_itself(checkout):
    own, folder = checkout / '.venv' / 'bin', checkout.parent / 'bin'
    program(own, 'python3.11', 'echo 3.11')
    (checkout / '.venv' / '.nbn_mm').mkdir()
    program(folder, 'python3', 'case "$*" in *prepare.py) echo "prepared from outside"; exit 7;; *) echo 3.11;; esac')
    result = shell('tools/run_tests.sh', checkout, PATH=f'{own}:{folder}', VIRTUAL_ENV=str(checkout / '.venv'))
    assert result.returncode == 7 and 'prepared from outside' in result.stdout


def test_a_foreign_dot_venv_is_not_touched(checkout):
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', checkout / '.venv'], check=True)
    shutil.copytree(ROOT / 'nbn_mm' / 'utils', checkout / 'nbn_mm' / 'utils')
    before = tree(checkout / '.venv')
    result = shell('tools/run_tests.sh', checkout)
    assert result.returncode == 1 and '.venv, which this script did not make' in result.stdout
    assert tree(checkout / '.venv') == before


def test_ci_puts_ready_wheels_first_and_hands_the_status_on(tmp_path):
    project = tmp_path / 'p'
    (project / '.ci').mkdir(parents=True)
    shutil.copy(ROOT / '.ci' / 'run', project / '.ci' / 'run')
    assert os.access(ROOT / '.ci' / 'run', os.X_OK)
    program(project / 'tools', 'run_tests.sh', 'echo "$NBN_MM_ENV|$PIP_FIND_LINKS|"; exit 5')
    result = shell('.ci/run', project, PIP_FIND_LINKS='/preset')
    assert (result.returncode, result.stdout.strip()) == (5, 'venv|/preset|')
    (tmp_path / 'shared' / 'wheels').mkdir(parents=True)
    wheels = (tmp_path / 'shared' / 'wheels').resolve()
    assert shell('.ci/run', project, PIP_FIND_LINKS='/preset').stdout.strip() == f'venv|{wheels} /preset|'
    assert shell('.ci/run', project).stdout.strip() == f'venv|{wheels}|'


# -- the package
def test_wheel_has_package_configs_and_no_host(tmp_path):
    pytest.importorskip('wheel', reason='building a wheel needs the package wheel')
    source = tmp_path / 'source'
    source.mkdir()
    for name in ('nbn_mm', 'configs', 'tools'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT / 'setup.py', source)
    (source / 'configs' / 'demo').mkdir(exist_ok=True)
    (source / 'configs' / 'demo' / 'probe.py').touch()
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'bdist_wheel', '-d', str(tmp_path)],
        cwd=source,
        check=True,
        env=env,
        capture_output=True,
    )
    with zipfile.ZipFile(next(tmp_path.glob('nbn_mm-*.whl'))) as wheel:
        names = set(wheel.namelist())
        text = next(wheel.read(n).decode() for n in names if n.endswith('/METADATA'))
    assert {
        'nbn_mm/__init__.py',
        'nbn_mm/models/layers/__init__.py',
        'nbn_mm/.mim/configs/demo/probe.py',
        'nbn_mm/.mim/tools/run_tests.sh',
        'nbn_mm/.mim/tools/setup/prepare.py',
    } <= names
    assert not {n for n in names if n.startswith(('tests', 'tools', 'configs'))}
    version = {}
    exec((ROOT / 'nbn_mm' / 'version.py').read_text(), version)
    assert f'Version: {version["__version__"]}\n' in text
    assert 'Requires-Python: <3.13,>=3.10' in text or 'Requires-Python: >=3.10,<3.13' in text
    needs = [row.lower() for row in text.splitlines() if row.startswith('Requires-Dist')]
    assert not [
        row for row in needs if any(word in row.split(':')[1] for word in ('mm', 'torch=', 'torch>', 'torchvision'))
    ]
    assert {row.split(': ')[1] for row in text.splitlines() if row.startswith('Provides-Extra')} == {
        'cls',
        'det',
        'all',
        'tests',
    }
