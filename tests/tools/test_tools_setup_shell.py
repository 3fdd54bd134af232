"""Set-up: the scripts as they are typed, in active environments of all kinds; the wheel."""
import os
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import check_environment
import pytest
from setup_machine import ROOT, program


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
        'cluster',
        'tests',
    }
