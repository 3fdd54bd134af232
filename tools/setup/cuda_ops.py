"""Which ops of mmcv this machine gets: for the CPU or for CUDA."""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from running import SetupError

DEFAULT_NVCC = '/usr/local/cuda/bin/nvcc'
WAY_OUT = 'To go on with ops for the CPU alone: NBN_MM_OPS=cpu'


@dataclass(frozen=True)
class Torch:
    """What the installed torch says of itself.

    Args:
        version (str): Its version.
        cuda (str or None): The CUDA version that it was built with; None for a CPU build.
        gpu (bool): Whether it can use a GPU now.
    """

    version: str
    cuda: object
    gpu: bool


def major(version):
    """The major number of a version."""
    return int(version.split('.')[0])


def _output(command):
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout if result.returncode == 0 else None


def find_gpu():
    """What nvidia-smi says of the driver, or None on a machine without a working one.

    Returns:
        dict or None: ``gpus`` (list of names) and ``cuda`` (highest CUDA version of the driver, or ``'unknown'``).
    """
    if shutil.which('nvidia-smi') is None:
        return None
    names = _output(['nvidia-smi', '--query-gpu=name', '--format=csv,noheader'])
    if not names or not names.strip():
        return None
    match = re.search(r'CUDA Version:\s*([\d.]+)', _output(['nvidia-smi']) or '')
    return dict(gpus=[n.strip() for n in names.splitlines() if n.strip()], cuda=match.group(1) if match else 'unknown')


def find_nvcc(environ=os.environ):
    """The nvcc that a compile would use and its version: CUDA_HOME or CUDA_PATH, then PATH, then /usr/local/cuda.

    Returns:
        tuple[str, str] or None: Path and version.
    """
    homes = [environ.get('CUDA_HOME'), environ.get('CUDA_PATH')]
    places = [str(Path(home, 'bin', 'nvcc')) for home in homes if home]
    places += [p for p in (shutil.which('nvcc'), DEFAULT_NVCC) if p]
    for place in places:
        match = re.search(r'release ([\d.]+)', _output([place, '--version']) or '')
        if match:
            return place, match.group(1)
    return None


def choose_device(torch, environ=os.environ):
    """The device for which the ops are wanted.

    Args:
        torch (Torch): The installed torch.
        environ (dict): ``NBN_MM_OPS`` is read, and ``FORCE_CUDA``.

    Returns:
        str: ``'cpu'`` or ``'cuda'``.

    Raises:
        SetupError: If there is a GPU that the installed torch cannot use, or NBN_MM_OPS is unknown.
    """
    wanted = environ.get('NBN_MM_OPS', 'auto')
    if wanted not in ('auto', 'cpu', 'cuda'):
        raise SetupError(f'NBN_MM_OPS={wanted} is unknown; it is cpu, cuda or auto.')
    if wanted == 'cpu':
        return 'cpu'
    driver = find_gpu()
    forced = wanted == 'cuda' or environ.get('FORCE_CUDA') == '1'
    if driver is None and not forced:
        return 'cpu'
    if torch.cuda is None:
        raise SetupError(
            f'CUDA ops are wanted, but the installed torch {torch.version} is a build for the CPU. Where pip '
            f'found it, a CUDA build must be found (see `pip config list`, PIP_FIND_LINKS).\n{WAY_OUT}'
        )
    if driver is not None and not torch.gpu and not forced:
        raise SetupError(
            f'nvidia-smi shows {", ".join(driver["gpus"])}, but torch {torch.version}, built with CUDA '
            f'{torch.cuda}, cannot use it; the driver goes up to CUDA {driver["cuda"]}. Update the driver, or '
            f'look at CUDA_VISIBLE_DEVICES.\n{WAY_OUT}'
        )
    return 'cuda'


def require_nvcc(torch, environ=os.environ):
    """The nvcc that fits the installed torch.

    Raises:
        SetupError: If there is none, or its CUDA major differs from torch's; both versions and the way out are named.
    """
    nvcc = find_nvcc(environ)
    need = f'torch {torch.version} is built with CUDA {torch.cuda}'
    if nvcc is None:
        raise SetupError(
            f'Compiling the CUDA ops of mmcv needs nvcc, and none was found in CUDA_HOME, on PATH or in '
            f'/usr/local/cuda. {need}: install the CUDA toolkit {major(torch.cuda)}.x and set CUDA_HOME.\n{WAY_OUT}'
        )
    path, version = nvcc
    if major(version) != major(torch.cuda):
        raise SetupError(
            f'{path} is of CUDA {version}, and {need}: the majors must be the same. Install the CUDA toolkit '
            f'{major(torch.cuda)}.x and set CUDA_HOME to it.\n{WAY_OUT}'
        )
    return path


def cuda_home(nvcc):
    """The toolkit's folder, also where the nvcc on PATH is a script; None leaves the choice to torch."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'empty.cu')
        source.touch()
        try:
            said = subprocess.run(
                [nvcc, '--dryrun', '-c', str(source)], capture_output=True, text=True, timeout=60
            ).stderr
        except (OSError, subprocess.TimeoutExpired):
            said = ''
    top = re.search(r'^#\$ TOP=(.+)$', said, re.M)
    homes = [Path(top.group(1).strip())] if top else []
    homes.append(Path(nvcc).resolve().parents[1])
    return next((str(h.resolve()) for h in homes if (h / 'include' / 'cuda_runtime.h').is_file()), None)


def compile_environment(device, nvcc=None):
    """Environment variables for mmcv's build.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.
        nvcc (str, optional): Path of nvcc, for CUDA.
    """
    if device == 'cpu':
        return dict(MMCV_WITH_OPS='1', FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
    home = cuda_home(nvcc)
    return dict(MMCV_WITH_OPS='1', FORCE_CUDA='1', **(dict(CUDA_HOME=home) if home else {}))
