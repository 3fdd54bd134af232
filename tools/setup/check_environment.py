"""Says whether this interpreter's environment fits; installs nothing: check_environment.py demo|tests ENVIRONMENT."""

import importlib
import importlib.util
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ((3, 10), (3, 13))


def load_versions():
    """``nbn_mm/utils/versions.py`` by its path: importing the package checks the environment itself."""
    spec = importlib.util.spec_from_file_location('nbn_mm_versions', ROOT / 'nbn_mm' / 'utils' / 'versions.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def needed_packages(versions, job):
    """What a job cannot do without, and what it goes without (its parts are then left out).

    Args:
        versions (module): ``nbn_mm/utils/versions.py``.
        job (str): ``'demo'`` or ``'tests'``.

    Returns:
        tuple[list[Package], list[Package]]: Required and optional ones.
    """
    package, hosts = versions.Package, versions.HOST_PACKAGES
    required = [
        *versions.COMMON_PACKAGES,
        package('torchvision', '0.15', '1'),
        package('numpy', '1.22', '3'),
        package('PIL', '9', '100', ('pillow',)),
        package('matplotlib', '3.5', '4'),
        package('sklearn', '1.1', '2', ('scikit-learn',)),
    ]
    optional = [hosts['mmdet'], package('lvis', '0.5.3', '1'), package('pycocotools', '2.0', '3')]
    if job == 'demo':
        return [*required, hosts['mmpretrain']], []
    required += [package('pytest', '7', '100'), package('torchmetrics', '1.0', '2')]
    return required, [hosts['mmpretrain'], *optional, package('xdist', '3', '4', ('pytest-xdist',))]


def installed(package):
    """Distributions of a package that are installed, with their versions; an import without one counts as unknown."""
    found = {}
    for name in package.distributions or (package.name,):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def judge(versions, package, required):
    """What does not fit about a package.

    Returns:
        str or None: The complaint.
    """
    found = installed(package)
    if len(found) > 1:
        return 'two distributions overwrite each other: ' + ', '.join(f'{n} {v}' for n, v in found.items())
    version = next(iter(found.values()), None)
    if version is not None and not package.fits(version):
        return f'found {version}'
    try:
        module = importlib.import_module(package.name)
    except ModuleNotFoundError as error:
        absent = error.name == package.name
        return f'fails to import: {error}' if not absent else 'not installed' if required else None
    except Exception as error:  # a broken package fails in any way; it is told, not hidden
        return f'{version or ""} fails to import: {type(error).__name__}: {error}'.strip()
    version = version or getattr(module, '__version__', None)
    if version is None or not package.fits(str(version)):
        return f'found {version or "without a version"}'
    return None


def find_misfits(versions, job):
    """All that does not fit.

    Returns:
        tuple[list[tuple[str, str, str]], list[str]]: Rows of name, complaint and need; names of optional packages that
        are absent.
    """
    rows, absent = [], []
    python = sys.version_info[:2]
    if not PYTHONS[0] <= python < PYTHONS[1]:
        rows.append(('Python', f'found {sys.version.split()[0]}', '>=3.10,<3.13'))
    required, optional = needed_packages(versions, job)
    for package in [*required, *optional]:
        complaint = judge(versions, package, package in required)
        if complaint:
            rows.append((package.name, complaint, package.needed))
        elif package.name not in sys.modules:
            absent.append(package.name)
    if job == 'tests':
        hosts = list(versions.HOST_PACKAGES)
        if set(hosts) <= set(absent):
            rows.append(('a host', 'not installed', ' or '.join(hosts)))
        elif 'mmdet' in sys.modules and not any(name in ('mmcv', 'mmdet') for name, _, _ in rows):
            try:
                versions.check_compiled_ops('mmdet')
            except ImportError as error:
                rows.append(('mmcv ops', str(error), 'compiled'))
    return rows, absent


def main(job, environment):
    """Print what fits or what does not.

    Returns:
        int: Exit status.
    """
    versions = load_versions()
    rows, absent = find_misfits(versions, job)
    if not rows:
        names = ('torch', 'mmengine', 'mmcv', 'mmpretrain', 'mmdet')
        there = ', '.join(f'{n} {sys.modules[n].__version__}' for n in names if n in sys.modules)
        print(f'The active environment is used as it is ({environment}): {there}')
        if absent:
            print(f'Not installed, so their parts are left out: {", ".join(absent)}')
        return 0
    print(f'The active environment does not fit ({environment}), and nothing is installed into it:')
    for name, complaint, need in rows:
        print(f'  {name:<12} {complaint}; needed {need}')
    print(
        'Either leave it (`deactivate` or `conda deactivate`) or set NBN_MM_ENV=venv, and run the same command again:\n'
        'it then makes the tested environment in .venv. Or mend the environment yourself: docs/install.md.'
    )
    return 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2]))
