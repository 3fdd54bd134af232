"""The usable versions of the packages that stand below this one, and the errors that say what to install.

Both lines of OpenMMLab packages are accepted: the maintained ``onedl-*`` distributions and the original ones. They
share the import names, so only versions are compared. This file imports nothing of the package and nothing outside the
standard library at its top: set-up reads it by its path.
"""

import importlib
import re
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Package:
    """A package, the distributions that bring it, and the half-open range of usable versions.

    Args:
        name (str): Import name.
        minimum (str): Lowest usable version.
        below (str): First version that is not usable any more.
        distributions (tuple[str]): Names of the distributions that bring it; empty: the import name.
    """

    name: str
    minimum: str
    below: str
    distributions: tuple[str, ...] = ()

    @property
    def needed(self) -> str:
        """The range as pip writes it."""
        return f'>={self.minimum},<{self.below}'

    def fits(self, version: str) -> bool:
        """Whether a version lies in the range."""
        return release(self.minimum) <= release(version) < release(self.below)


COMMON_PACKAGES = (
    Package('torch', '2.0', '3'),
    Package('mmengine', '0.10.0', '1', ('onedl-mmengine', 'mmengine', 'mmengine-lite')),
    Package('mmcv', '2.0.0', '3', ('onedl-mmcv', 'onedl-mmcv-lite', 'mmcv', 'mmcv-lite')),
)
HOST_PACKAGES = {
    'mmpretrain': Package('mmpretrain', '1.0.0', '2', ('onedl-mmpretrain', 'mmpretrain')),
    'mmdet': Package('mmdet', '3.0.0', '4', ('onedl-mmdetection', 'mmdet')),
}
ADVICE = """\
Install one of the two sets, never both (their import names are the same):
  requirements/onedl.txt     the maintained packages (onedl-mmengine, onedl-mmcv, ...)
  requirements/original.txt  the original packages (mmengine, mmcv, ...)
The commands stand in docs/install.md; in a checkout `bash tools/run_tests.sh` makes a fitting environment in .venv."""


def release(version: str) -> tuple[int, ...]:
    """Numbers of a version, trailing zeros dropped: ``'2.11.0+cu130'`` gives ``(2, 11)``; no number gives ``()``."""
    match = re.match(r'v?(\d+(?:\.\d+)*)', version)
    numbers = [int(n) for n in match.group(1).split('.')] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def check_version(package: Package, module: ModuleType) -> None:
    """Check the version of an imported module.

    Raises:
        ImportError: If the module has no version or one outside the usable range.
    """
    version = getattr(module, '__version__', None)
    if version is None:
        raise ImportError(
            f'{package.name} at {getattr(module, "__file__", None) or list(module.__path__)} has no '
            f'version; {package.name}{package.needed} is needed.'
        )
    if not package.fits(str(version)):
        raise ImportError(f'{package.name} {version} is installed; {package.name}{package.needed} is needed.')


def check_common_packages(packages: tuple[Package, ...] = COMMON_PACKAGES) -> None:
    """Check torch, mmengine and mmcv together.

    Raises:
        ImportError: One for all packages that are missing, fail to import, or have an unusable version. It says what
            was found, what is needed and what to install.
    """
    rows: list[tuple[str, str, str]] = []
    cause: Exception | None = None
    for package in packages:
        try:
            module = importlib.import_module(package.name)
        except ModuleNotFoundError as error:
            found = 'not installed' if error.name == package.name else f'fails to import: {error}'
        # A broken build fails in many ways: ImportError of a library, OSError of ctypes, RuntimeError, AttributeError.
        except Exception as error:
            found, cause = f'fails to import: {type(error).__name__}: {error}', error
        else:
            version = getattr(module, '__version__', None)
            if version is not None and package.fits(str(version)):
                continue
            found = f'found {version}' if version is not None else 'found without a version'
        rows.append((package.name, package.needed, found))
    if rows:
        lines = [f'  {name:<10} needed {needed:<12} {found}' for name, needed, found in rows]
        raise ImportError(
            '\n'.join(['nbn_mm cannot be imported, because of these packages:', *lines, ADVICE])
        ) from cause


def check_compiled_ops(needed_by: str) -> None:
    """Check that mmcv has its compiled ops and that they load under the installed torch.

    Args:
        needed_by (str): What needs them, for the message.

    Raises:
        ImportError: If the ops are absent (mmcv-lite, or an mmcv built without torch at hand) or do not load.
    """
    import mmcv
    import torch  # noqa: F401, the extension needs its libraries

    try:
        importlib.import_module('mmcv._ext')
    except ModuleNotFoundError as error:
        if error.name != 'mmcv._ext':
            raise
        raise ImportError(
            f'{needed_by} needs the compiled ops of mmcv, and mmcv {mmcv.__version__} has none (mmcv-lite, '
            'or built where torch was not at hand). Uninstall it and install the full mmcv with '
            '`pip install --no-build-isolation` after torch, see docs/install.md.'
        ) from error
    except ImportError as error:
        raise ImportError(
            f'{needed_by} needs the compiled ops of mmcv, and those of mmcv {mmcv.__version__} do not load '
            f'under torch {torch.__version__}: {error}. They fit only the torch that they were compiled '
            'against: compile mmcv again, see docs/install.md.'
        ) from error


def check_host(host: str, module: ModuleType) -> None:
    """Check an imported host: its version and, for mmdet, the compiled ops of mmcv.

    Raises:
        ImportError: If the version is not usable or the ops are absent.
    """
    check_version(HOST_PACKAGES[host], module)
    if host == 'mmdet':
        check_compiled_ops('mmdet')
