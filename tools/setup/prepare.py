"""Makes or mends .venv, the tested environment of this checkout. Called by tools/quickstart.sh and tools/run_tests.sh.

Each step leaves a stamp with a hash of what it depends on, so that a second run starts at once, a changed requirement
redoes what it touches, and an interrupted run goes on where it stopped. Only the standard library is used.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mmcv_build
from cuda_ops import Torch, choose_device
from running import SetupError, check_disk, run, say, tail

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'requirements'
# GiB, measured on Linux x86-64: the finished .venv, pip's cache, and the same downloads in the temporary folder
VENV_GIB, CACHE_GIB, TEMPORARY_GIB = 6.0, 3.0, 3.0
PROBE = (
    'import json, torch, mmengine, mmcv._ext; '
    'print(json.dumps([torch.__version__, torch.version.cuda, torch.cuda.is_available()]))'
)


def read_pins(path):
    """Requirements of a file and of those that it includes, in order."""
    rows = []
    for line in path.read_text().splitlines():
        line = line.split('#')[0].strip()
        if line.startswith('-r '):
            rows += read_pins(path.parent / line[3:].strip())
        elif line:
            rows.append(line)
    return rows


def remove_half_installed(site_packages):
    """Remove the records of packages whose installation was cut off, so that pip installs them again.

    pip writes INSTALLER after a package's files and RECORD last of all.

    Returns:
        list[str]: The names of what was removed.
    """
    removed = []
    for info in [*site_packages.glob('*.dist-info'), *site_packages.glob('~*')]:
        record = info / 'RECORD'
        if info.name.startswith('~') or not record.is_file() or f'{info.name}/INSTALLER,' not in record.read_text():
            shutil.rmtree(info) if info.is_dir() else info.unlink()
            removed.append(info.name)
    return removed


class Setup:
    """The steps, their stamps and the interpreter.

    Args:
        root (Path): The checkout.
        base_python (str): Interpreter that makes the virtual environment.
    """

    def __init__(self, root=ROOT, base_python=sys.executable):
        self.root, self.base_python = root, base_python
        self.venv, self.build = root / '.venv', root / '.mm_build'
        self.state = self.venv / '.nbn_mm'
        self.python = self.venv / 'bin' / 'python'
        self.logs = self.build / 'logs'
        self.constraints = REQUIREMENTS / 'constraints.txt'
        self.start = time.monotonic()
        self.key = hashlib.sha256()
        self.lock = None

    # -- state
    def take_lock(self):
        """Wait until no other set-up of this checkout runs; commands inherit the lock, and no orphan is overtaken."""
        self.build.mkdir(exist_ok=True)
        self.lock = open(self.build / 'lock', 'w')
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say('Another set-up of this checkout is running; waiting for it.')
            fcntl.flock(self.lock, fcntl.LOCK_EX)

    def remember_ops(self):
        """Keep the choice of NBN_MM_OPS for the next call, so that it is made once."""
        chosen, given = self.build / 'ops', os.environ.get('NBN_MM_OPS')
        if given:
            chosen.write_text(given)
        elif chosen.is_file():
            os.environ['NBN_MM_OPS'] = chosen.read_text()
            say(f'Ops as chosen before: NBN_MM_OPS={chosen.read_text()} (set it to auto, cpu or cuda to choose again)')

    def step(self, name, title, depends, action):
        """Do a step unless its stamp says that it was done with the same dependencies (its own and earlier ones)."""
        self.key.update(f'{name}:{depends}'.encode())
        stamp, key = self.state / f'{name}.done', self.key.hexdigest()
        if stamp.is_file() and stamp.read_text() == key:
            return
        say(f'[set-up {time.monotonic() - self.start:4.0f} s] {title}')
        start = time.monotonic()
        action()
        stamp.write_text(key)
        say(f'    done in {time.monotonic() - start:.0f} s')

    def command(self, command, name, **kwargs):
        env = {'PATH': f'{self.venv / "bin"}:{os.environ.get("PATH", "")}', **kwargs.pop('env', {})}
        run(command, self.logs / f'{name}.log', env=env, keep_fds=(self.lock.fileno(),), **kwargs)

    def pip(self, *arguments, name, **kwargs):
        self.command([self.python, '-m', 'pip', *arguments], name, **kwargs)

    def install(self, name, *arguments):
        # bytecode is compiled at the first import instead, for the modules that are used
        self.pip(
            'install',
            '--no-compile',
            '--progress-bar',
            'off',
            '-c',
            self.constraints,
            *arguments,
            name=name,
            progress=lambda: self.pip_progress(name),
        )

    def pip_progress(self, name):
        """What pip is doing, from its log and from what stands in .venv."""
        line = (tail(self.logs / f'{name}.log', 1) or ['starting pip'])[0]
        if not line.startswith('Installing collected packages'):
            return line
        there = len(list(self.site_packages().glob('*.dist-info')))
        return f'unpacking {line.count(",") + 1} packages; {there} stand in .venv'

    def site_packages(self):
        return next((self.venv / 'lib').glob('python3*/site-packages'))

    # -- steps
    def python_version(self):
        """``'3.11'`` of a working .venv, or None."""
        if not self.python.exists():
            return None
        result = subprocess.run(
            [self.python, '-c', 'import pip, sys; print("%d.%d" % sys.version_info[:2])'],
            capture_output=True,
            text=True,
        )
        return result.stdout.strip() if result.returncode == 0 else None

    def make_venv(self):
        if self.venv.exists():
            say('    .venv is half made or does not run: it is made anew')
            shutil.rmtree(self.venv)
        cache = os.environ.get('PIP_CACHE_DIR') or Path(
            os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'pip'
        )
        check_disk(
            [
                (self.venv, VENV_GIB, 'the environment'),
                (cache, CACHE_GIB, "pip's downloads"),
                (tempfile.gettempdir(), TEMPORARY_GIB, 'temporary files'),
            ]
        )
        self.state.mkdir(parents=True)
        run([self.base_python, '-m', 'venv', self.venv], self.logs / 'venv.log')

    def probe(self):
        """The installed torch, after importing mmcv's ops too; None if that fails."""
        result = subprocess.run([self.python, '-c', PROBE], capture_output=True, text=True, cwd=self.root)
        return Torch(*json.loads(result.stdout.splitlines()[-1])) if result.returncode == 0 else None

    def torch(self):
        """The installed torch.

        Raises:
            SetupError: If it does not import.
        """
        probe = PROBE.replace('mmengine, mmcv._ext', 'sys')
        result = subprocess.run([self.python, '-c', probe], capture_output=True, text=True, cwd=self.root)
        if result.returncode:
            raise SetupError(
                f'torch is installed in .venv and does not import:\n{result.stderr[-1500:]}\n'
                'Remove .venv and run this command again.'
            )
        return Torch(*json.loads(result.stdout.splitlines()[-1]))

    def ready(self):
        """Whether every stamp stands, the ops load and serve the wanted device."""
        try:
            state = json.loads((self.state / 'ready').read_text())
        except (OSError, ValueError):
            return False
        if state['key'] != self.requirements_key():
            return False
        torch = self.probe()
        if torch is None:
            say('.venv was ready and its packages do not import any more: it is mended.')
            for stamp in self.state.glob('*.done'):
                stamp.unlink()
            return False
        return state['device'] in (choose_device(torch), 'cuda')

    def requirements_key(self):
        files = sorted(REQUIREMENTS.glob('*.txt')) + [self.root / 'setup.py', self.root / 'nbn_mm' / 'version.py']
        text = ''.join(f.read_text() for f in files) + f'{self.python_version()} {self.root}'
        return hashlib.sha256(text.encode()).hexdigest()

    def run(self):
        """All steps."""
        self.take_lock()
        self.remember_ops()
        if self.python_version() and self.ready():
            say(f'.venv is ready (checked in {time.monotonic() - self.start:.0f} s)')
            return
        if self.python_version() is None or not self.state.is_dir():
            say(f'[set-up {time.monotonic() - self.start:4.0f} s] make .venv with {self.base_python}')
            self.make_venv()
        for name in remove_half_installed(self.site_packages()):
            say(f'    {name} was cut off while it was installed: it is installed again')
        pins = read_pins(REQUIREMENTS / 'onedl.txt')
        torch_pins = [p for p in pins if re.match(r'torch(vision)?==', p)]
        mmcv_pin = next(p for p in pins if p.startswith('onedl-mmcv=='))
        others = [p for p in pins if p not in torch_pins and p != mmcv_pin]
        constraints = self.constraints.read_text() + str(self.python_version())
        build = read_pins(REQUIREMENTS / 'build.txt')
        self.step('build', 'build tools', constraints + str(build), lambda: self.install('build', *build))
        self.step(
            'torch',
            f"{' '.join(torch_pins)} (about 3 GB when not in pip's cache)",
            torch_pins,
            lambda: self.install('torch', *torch_pins),
        )
        self.step(
            'packages',
            'mmengine, the hosts and what evaluation and tests need',
            others,
            lambda: self.install('packages', *others),
        )
        torch = self.torch()
        device = choose_device(torch)
        self.step(
            'mmcv',
            f'{mmcv_pin} with ops for {device}',
            [mmcv_pin, device],
            lambda: mmcv_build.install(self, mmcv_pin, torch, device),
        )
        self.step(
            'project',
            'this checkout, editable',
            self.root,
            lambda: self.pip('install', '--no-deps', '--no-build-isolation', '-e', self.root, name='project'),
        )
        (self.state / 'ready').write_text(json.dumps(dict(key=self.requirements_key(), device=device)))
        say(f'.venv is ready ({time.monotonic() - self.start:.0f} s)')


def main():
    try:
        Setup().run()
    except SetupError as error:
        say(f'\nSet-up stopped.\n{error}')
        sys.exit(1)
    except OSError as error:
        say(f'\nSet-up stopped: {error}')
        sys.exit(1)
    except KeyboardInterrupt:
        say('\nInterrupted. The same command goes on from here.')
        sys.exit(130)


if __name__ == '__main__':
    main()
