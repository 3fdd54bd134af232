import ast
import sys
import types
from pathlib import Path

import pytest

from nbn_mm.utils import versions
from nbn_mm.utils.versions import (
    COMMON_PACKAGES,
    HOST_PACKAGES,
    Package,
    check_common_packages,
    check_compiled_ops,
    check_host,
    check_version,
    release,
)

ROOT = Path(__file__).resolve().parents[2]
ALL = {p.name: p for p in (*COMMON_PACKAGES, *HOST_PACKAGES.values())}


def _module(name, version=None):
    module = types.ModuleType(name)
    module.__file__ = f'{name}/__init__.py'
    if version is not None:
        module.__version__ = version
    return module


@pytest.mark.parametrize(
    'version, numbers',
    [
        ('2.11.0+cu130', (2, 11)),
        ('0.10.8rc1', (0, 10, 8)),
        ('1.0.0', (1,)),
        ('v2.1', (2, 1)),
        ('parrots', ()),
        ('0.0', ()),
    ],
)
def test_release(version, numbers):
    assert release(version) == numbers


@pytest.mark.parametrize(
    'name, version, fits',
    [
        ('torch', '2.11.0+cu130', True),
        ('torch', '2.4.1', True),
        ('torch', '1.13.1', False),
        ('torch', 'parrots', False),
        ('mmengine', '0.10.12', True),
        ('mmengine', '0.10.7', True),
        ('mmengine', '0.9.1', False),
        ('mmengine', '1.0.0', False),
        ('mmcv', '2.3.6', True),
        ('mmcv', '2.1.0', True),
        ('mmcv', '1.7.2', False),
        ('mmcv', '10.0', False),
        ('mmdet', '3.5.1', True),
        ('mmdet', '3.3.0', True),
        ('mmdet', '2.28.2', False),
        ('mmdet', '4.0', False),
        ('mmpretrain', '1.3.6', True),
        ('mmpretrain', '1.2.0', True),
        ('mmpretrain', '0.25.0', False),
    ],
)
def test_ranges(name, version, fits):
    assert ALL[name].fits(version) is fits


def test_the_proven_sets_lie_in_the_ranges():
    distributions = {d: p for p in ALL.values() for d in (p.distributions or (p.name,))}
    for line, hosts in (('onedl', 4), ('original', 4)):
        pins = dict(row.split('==') for row in (ROOT / f'requirements/{line}.txt').read_text().split() if '==' in row)
        ours = {name: version for name, version in pins.items() if name in distributions}
        assert len(ours) == 1 + hosts
        assert all(distributions[name].fits(version) for name, version in ours.items())


def test_this_environment_passes():
    check_common_packages()


def test_one_error_lists_every_common_package(monkeypatch, tmp_path):
    (tmp_path / 'nbn_broken_probe.py').write_text('raise OSError("libprobe.so: cannot open shared object file")')
    (tmp_path / 'nbn_half_probe.py').write_text('import nbn_missing_dependency')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, 'nbn_old_probe', _module('nbn_old_probe', '0.7.4'))
    monkeypatch.setitem(sys.modules, 'nbn_bare_probe', _module('nbn_bare_probe'))
    monkeypatch.setitem(sys.modules, 'nbn_good_probe', _module('nbn_good_probe', '1.5'))
    names = (
        'nbn_absent_probe',
        'nbn_old_probe',
        'nbn_bare_probe',
        'nbn_broken_probe',
        'nbn_half_probe',
        'nbn_good_probe',
    )
    with pytest.raises(ImportError) as info:
        check_common_packages(tuple(Package(name, '1.0', '2') for name in names))
    message = str(info.value)
    assert 'nbn_absent_probe needed >=1.0,<2     not installed' in message
    assert 'found 0.7.4' in message and 'found without a version' in message
    assert 'OSError: libprobe.so' in message and isinstance(info.value.__cause__, OSError)
    assert "No module named 'nbn_missing_dependency'" in message
    assert 'nbn_good_probe' not in message
    assert 'requirements/onedl.txt' in message and 'requirements/original.txt' in message
    for path in ('requirements/onedl.txt', 'requirements/original.txt', 'docs/install.md', 'tools/run_tests.sh'):
        assert (ROOT / path).is_file(), f'the message names {path}'


def test_check_version():
    check_version(HOST_PACKAGES['mmdet'], _module('mmdet', '3.3.0'))
    with pytest.raises(ImportError, match=r'mmdet 2\.28\.2 is installed; mmdet>=3\.0\.0,<4 is needed'):
        check_version(HOST_PACKAGES['mmdet'], _module('mmdet', '2.28.2'))
    with pytest.raises(ImportError, match='mmdet/__init__.py has no version'):
        check_version(HOST_PACKAGES['mmdet'], _module('mmdet'))
    namespace = types.ModuleType('mmdet')
    namespace.__path__ = ['somewhere/mmdet']
    with pytest.raises(ImportError, match='somewhere/mmdet'):
        check_version(HOST_PACKAGES['mmdet'], namespace)


def test_missing_ops(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    with pytest.raises(
        ImportError, match=r'(?s)Probe needs the compiled ops.*has none \(mmcv-lite.*--no-build-isolation'
    ):
        check_compiled_ops('Probe')
    with pytest.raises(ImportError, match='mmdet needs the compiled ops'):
        check_host('mmdet', _module('mmdet', '3.3.0'))
    check_host('mmpretrain', _module('mmpretrain', '1.2.0'))


def test_ops_of_another_torch(monkeypatch):
    def import_module(name):
        raise ImportError('_ext.so: undefined symbol: _ZN2at4_ops')

    monkeypatch.setattr(versions.importlib, 'import_module', import_module)
    with pytest.raises(ImportError, match=r'(?s)do not load under torch .*undefined symbol.*compile mmcv again'):
        check_compiled_ops('Probe')


def test_nothing_but_the_standard_library_at_the_top():
    """Set-up reads the file by its path, before anything is installed."""
    tree = ast.parse((ROOT / 'nbn_mm/utils/versions.py').read_text())
    names = {a.name for n in tree.body if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in tree.body if isinstance(n, ast.ImportFrom)}
    assert {n.split('.')[0] for n in names} <= set(sys.stdlib_module_names)
