"""Installs mmcv with its compiled ops: a ready wheel where pip finds one that serves, else one compiled here."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from cuda_ops import compile_environment, require_nvcc
from running import GIB, SetupError, check_disk, say, tail

CHECK = Path(__file__).with_name('check_ops.py')
BUILD_GIB = dict(cpu=1.5, cuda=4.0)
TRIAL = '#include <filesystem>\n#include <Python.h>\nint main() { return std::filesystem::path("a").empty(); }\n'


def check_ops(setup, device):
    """Run nms and roi_align on the device.

    Returns:
        tuple[bool, str]: Whether they are right, and what the check said last.
    """
    result = subprocess.run([setup.python, CHECK, device], capture_output=True, text=True, cwd=setup.root)
    said = (result.stdout + result.stderr).strip().splitlines() or ['no output']
    return result.returncode == 0, said[-1]


def install(setup, pin, torch, device):
    """Install mmcv and check its ops; one that was installed here for the same torch and device and serves is kept.

    Args:
        setup (prepare.Setup): The environment.
        pin (str): Requirement, e.g. ``'onedl-mmcv==2.3.6'``.
        torch (Torch): The installed torch.
        device (str): ``'cpu'`` or ``'cuda'``.

    Raises:
        SetupError: If mmcv cannot be compiled, or its ops are wrong.
    """
    name, version = pin.split('==')
    tag = f'{name}-{version}-torch{torch.version}-py{setup.python_version()}-{device}'
    home, installed = setup.build / tag, setup.state / 'mmcv.installed'
    metadata = setup.site_packages() / f'{name.replace("-", "_")}-{version}.dist-info'
    if metadata.is_dir() and installed.is_file() and installed.read_text() == tag:
        right, said = check_ops(setup, device)
        if right:
            say(f'    kept as it stands: {said}')
            return
    installed.unlink(missing_ok=True)
    if install_ready(setup, pin, home / 'wheels', device):
        installed.write_text(tag)
        return
    wheel = compile_wheel(setup, pin, torch, device, home)
    setup.pip('install', '--no-deps', '--force-reinstall', wheel, name='mmcv')
    right, said = check_ops(setup, device)
    if not right:
        shutil.rmtree(home)
        raise SetupError(f'mmcv was compiled and installed, but its ops fail on {device}: {said}')
    installed.write_text(tag)
    say(f'    {said}')


def install_ready(setup, pin, cache, device):
    """Install a wheel compiled here before, or one that pip finds; False if there is none whose ops serve."""
    name = pin.split('==')[0]
    for source in (sorted(cache.glob('*.whl')), [f'--only-binary={name}', pin]):
        if not source:
            continue
        try:
            setup.pip('install', '--no-deps', '--force-reinstall', *source, name='mmcv-ready')
        except SetupError:
            if 'No matching distribution' in (setup.logs / 'mmcv-ready.log').read_text(errors='replace'):
                say('    pip finds no ready wheel of mmcv for this Python')
                continue
            raise
        right, said = check_ops(setup, device)
        if right:
            say(f'    {next(iter(wheels_named(setup)), "ready wheel")}: {said}')
            return True
        say(f'    the ready wheel of mmcv does not serve here ({said}); it is removed')
        setup.pip('uninstall', '-y', name, name='mmcv-ready')
    return False


def wheels_named(setup):
    """File names of wheels that pip's last log of a ready wheel tells."""
    lines = tail(setup.logs / 'mmcv-ready.log', 20)
    return [word.rsplit('/', 1)[-1] for line in lines for word in line.split() if word.endswith('.whl')]


def check_compiler(setup):
    """Check that a C++17 program that includes Python's header compiles.

    Raises:
        SetupError: If there is no compiler, it is too old, or the headers of Python are missing.
    """
    compiler = os.environ.get('CXX') or next((c for c in ('c++', 'g++', 'clang++') if shutil.which(c)), None)
    where = 'mmcv has no ready wheel here, so its ops must be compiled'
    if compiler is None or shutil.which(compiler.split()[0]) is None:
        named = f'CXX={compiler} is not there' if compiler else 'there is no C++ compiler (c++, g++, clang++) on PATH'
        raise SetupError(
            f'{where}, and {named}. Install one (Debian, Ubuntu: apt install g++; conda: conda install '
            'gxx_linux-64) and run this command again, or point PIP_FIND_LINKS to a folder with a wheel.'
        )
    include = subprocess.run(
        [setup.python, '-c', 'import sysconfig; print(sysconfig.get_paths()["include"])'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if not Path(include, 'Python.h').is_file():
        version = setup.python_version()
        raise SetupError(
            f'{where}, and the headers of Python {version} are not in {include}. Install them (Debian, '
            f'Ubuntu: apt install python{version}-dev) and run this command again.'
        )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'trial.cpp')
        source.write_text(TRIAL)
        result = subprocess.run(
            [*compiler.split(), '-std=c++17', f'-I{include}', '-c', str(source), '-o', str(source.with_suffix('.o'))],
            capture_output=True,
            text=True,
        )
    if result.returncode:
        raise SetupError(
            f'{where}, and {compiler} does not compile a C++17 program; g++ 9 or later is needed:\n'
            f'{result.stderr[-800:]}'
        )


def default_jobs(cpus=None, memory=None):
    """Compile jobs: one a core, and no more than one for each 2 GiB of memory."""
    if cpus is None:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    memory = memory or os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return max(1, min(cpus, int(memory / GIB / 2)))


def compile_wheel(setup, pin, torch, device, home):
    """Compile mmcv against the installed torch; objects of an interrupted compile are used again.

    Returns:
        Path: The wheel.
    """
    nvcc = require_nvcc(torch) if device == 'cuda' else None
    check_compiler(setup)
    check_disk([(home, BUILD_GIB[device], "mmcv's objects")])
    name = pin.split('==')[0]
    source = home / 'source'
    if not source.is_dir():
        sdist = home / 'sdist'
        setup.pip(
            'download',
            '--no-deps',
            '--no-build-isolation',
            f'--no-binary={name}',
            '-d',
            sdist,
            pin,
            name='mmcv-source',
            env=dict(MMCV_WITH_OPS='0'),
        )
        unpacked = home / 'unpacked'
        shutil.rmtree(unpacked, ignore_errors=True)
        with tarfile.open(next(sdist.glob('*.tar.gz'))) as archive:
            archive.extractall(unpacked, **(dict(filter='data') if hasattr(tarfile, 'data_filter') else {}))
        next(p for p in unpacked.iterdir() if p.is_dir()).rename(source)
    jobs = os.environ.get('MAX_JOBS') or str(default_jobs())
    say(f'    compiling mmcv with {jobs} jobs (MAX_JOBS changes that); two cores take about 12 minutes for the CPU ops')
    before = count_objects(source)
    if before[0]:
        say(f'    going on with {before[0]} objects of an earlier run')
    start = time.monotonic()

    def progress():
        done, total = count_objects(source)
        return f'compiled {done} of {total or "?"} objects' if done or total else 'preparing'

    setup.pip(
        'wheel',
        '-v',
        '--no-deps',
        '--no-build-isolation',
        '-w',
        home / 'wheels',
        source,
        name='mmcv-compile',
        env={'MAX_JOBS': jobs, 'PYTHONUNBUFFERED': '1', **compile_environment(device, nvcc)},
        progress=progress,
    )
    say(f'    compiled in {time.monotonic() - start:.0f} s')
    wheel = next((home / 'wheels').glob('*.whl'))
    if 'none-any' in wheel.name:
        wheel.unlink()
        raise SetupError(f'mmcv was built without its ops; see {setup.logs / "mmcv-compile.log"}')
    shutil.rmtree(source)
    return wheel


def count_objects(source):
    """Objects that are there, and objects that ninja was told to make (0 before it is told)."""
    builds = list(source.glob('build/temp*'))
    plans = [p for b in builds for p in b.rglob('build.ninja')]
    total = sum(line.startswith('build ') for p in plans for line in p.read_text().splitlines())
    return sum(1 for b in builds for _ in b.rglob('*.o')), total


if __name__ == '__main__':
    sys.exit('Called by prepare.py.')
