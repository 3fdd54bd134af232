"""Absent and broken hosts, in interpreters of their own."""

import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

from nbn_mm.utils import hosts
from nbn_mm.utils.hosts import HOSTS, HostPart, host_error

ROOT = Path(__file__).resolve().parents[2]
PROBE = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {absent!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)

sys.meta_path.insert(0, Absent())
import mmengine.registry as registries
import nbn_mm
from nbn_mm.utils import hosts
"""


def _run(tmp_path, script, absent=(), fakes=None):
    for name, text in (fakes or {}).items():
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text(text)
    script = PROBE.format(absent=tuple(absent)) + textwrap.dedent(script)
    env = {'PATH': '/usr/bin:/bin', 'PYTHONPATH': f'{tmp_path}:{ROOT}', 'OMP_NUM_THREADS': '1', 'HOME': str(tmp_path)}
    result = subprocess.run([sys.executable, '-c', script], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


CHECK = """
def check(gone, works, message):
    assert hosts.host_error(works) is None, hosts.host_error(works)
    probe = hosts.HostPart(gone, 'nbn_mm.no_such_module', {'MODELS': ('ProbeHead',), 'DATASETS': ('ProbeSet',)})
    parts = hosts.HOST_PARTS + (probe,)
    hosts.HOST_PARTS = parts
    hosts.register_host_parts()
    scope = registries.DefaultScope.get_instance(works, scope_name=works)
    for part in parts:
        for variable, names in part.names.items():
            registry = getattr(registries, variable)
            for name in names:
                if part.host == works:
                    assert name not in registry.module_dict, name
                    found = registry.children[works].get(name)
                    assert found.__module__.startswith('nbn_mm.') and found.__module__ != hosts.__name__, name
                    continue
                for build in (lambda: registry.build(dict(type=name, num_classes=3)),
                              lambda: registry.children[works].build(dict(type=name))):
                    try:
                        with registries.DefaultScope.overwrite_default_scope(works):
                            build()
                    except ImportError as error:
                        for word in (repr(name), gone, message):
                            assert word in str(error), (word, str(error))
                    else:
                        raise AssertionError(f'{name} was built without {gone}')
    print('checked', len(parts))
"""


@pytest.mark.parametrize('gone, works', [('mmpretrain', 'mmdet'), ('mmdet', 'mmpretrain')])
def test_absent_host_removes_only_its_parts(tmp_path, gone, works):
    pytest.importorskip(works, reason=f'{works} is the host that stays')
    assert 'checked' in _run(
        tmp_path,
        CHECK + f'check({gone!r}, {works!r}, "ModuleNotFoundError: No module named \'{gone}\'")',
        absent=[gone],
    )


def test_broken_mmdet_removes_only_its_parts(tmp_path):
    pytest.importorskip('mmpretrain', reason='mmpretrain is the host that stays')
    out = _run(
        tmp_path,
        CHECK + "check('mmdet', 'mmpretrain', 'RuntimeError: operator torchvision::nms does not exist')",
        fakes={'mmdet': 'raise RuntimeError("operator torchvision::nms does not exist")'},
    )
    assert 'checked' in out


def test_both_hosts_gone(tmp_path):
    out = _run(
        tmp_path,
        """
    print(nbn_mm.__version__, [type(hosts.host_error(h)).__name__ for h in hosts.HOSTS])
    for part in hosts.HOST_PARTS:
        for variable, names in part.names.items():
            assert all('Stands in for' in getattr(registries, variable).get(name).__doc__ for name in names)
    """,
        absent=['mmpretrain'],
        fakes={'mmdet': '__version__ = "2.28.2"'},
    )
    assert "['ModuleNotFoundError', 'ImportError']" in out


def test_unusable_version(monkeypatch):
    monkeypatch.setattr(hosts, '_errors', {})
    old = types.ModuleType('mmdet')
    old.__version__ = '2.28.2'
    monkeypatch.setitem(sys.modules, 'mmdet', old)
    error = host_error('mmdet')
    assert isinstance(error, ImportError) and 'mmdet 2.28.2 is installed; mmdet>=3.0.0,<4 is needed' in str(error)
    assert host_error('mmdet') is error


def test_mmcv_without_ops_removes_mmdet(monkeypatch):
    pytest.importorskip('mmdet', reason='needs mmdet, to take the ops from it')
    monkeypatch.setattr(hosts, '_errors', {})
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    assert 'mmdet needs the compiled ops of mmcv' in str(host_error('mmdet'))


def test_unknown_host():
    with pytest.raises(ValueError, match="host='mmseg' is unknown; the hosts are"):
        host_error('mmseg')


def test_host_parts_name_hosts_and_modules():
    for part in hosts.HOST_PARTS:
        assert isinstance(part, HostPart) and part.host in HOSTS
        assert part.names and all(part.names.values())


def test_parts_on_demand(tmp_path, monkeypatch):
    """They come with the host's own parts at the first look-up, or at once where those are there already."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = [f'on_demand_{i}' for i in range(4)]
    host, first, second, own = names
    (tmp_path / host).mkdir()
    (tmp_path / host / '__init__.py').write_text('')
    (tmp_path / host / 'registry.py').write_text(
        f"from mmengine.registry import Registry\nTRANSFORMS = Registry('t', scope='{host}', locations=['{own}'])\n")
    part = f'from {host}.registry import TRANSFORMS\n@TRANSFORMS.register_module()\nclass %s: pass\n'
    for name, cls in ((first, 'First'), (second, 'Second'), (own, 'Own')):
        (tmp_path / f'{name}.py').write_text(part % cls)
    try:
        hosts._import_part(HostPart(host, first, dict(TRANSFORMS=('First', )), on_demand=True))
        assert first not in sys.modules
        registry = sys.modules[f'{host}.registry'].TRANSFORMS
        assert registry.get('First').__module__ == first and registry.get('Own').__module__ == own
        hosts._import_part(HostPart(host, second, dict(TRANSFORMS=('Second', )), on_demand=True))
        assert registry.get('Second').__module__ == second
    finally:
        for name in [name for name in sys.modules if name.split('.')[0] in names]:
            del sys.modules[name]
