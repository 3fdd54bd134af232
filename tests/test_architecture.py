"""Holds the import rules and the names of docs/architecture.md."""
import ast
import re
from pathlib import Path

import mmengine.registry as registries
import pytest

import nbn_mm  # noqa: F401, the import registers
from nbn_mm.utils.hosts import HOST_PARTS, host_error

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'nbn_mm'
MODULES = sorted(PACKAGE.rglob('*.py'))
HOSTS = {'mmpretrain', 'mmdet'}
DATASETS_OF = {'cifar_lt.py': 'mmpretrain', 'digits_lt.py': 'mmpretrain', 'image_list_lt.py': 'mmpretrain',
               'device_dataset.py': 'mmpretrain', 'cmo_dataset.py': 'mmpretrain',
                'cls_transforms.py': 'mmpretrain', 'lvis_dataset.py': 'mmdet', 'det_transforms.py': 'mmdet'}
# room -> packages that it must not import; the longest matching room counts
FORBIDDEN = {
    '': HOSTS,
    'models/classifiers': {'mmdet'},
    'models/heads': {'mmdet'},
    'models/data_preprocessors': {'mmdet'},
    'models/roi_heads': {'mmpretrain'},
    'evaluation/functional': HOSTS | {'mmengine', 'mmcv'},
}
# room -> rooms of this package that it must not import
FORBIDDEN_ROOMS = {
    'models/layers': ('models/placement', 'models/backbones', 'models/heads', 'models/losses', 'datasets', 'engine'),
    'models/losses': ('models/layers', 'models/placement', 'models/backbones', 'models/heads', 'engine'),
    'models/placement': ('models/backbones', 'models/heads', 'models/losses', 'engine'),
    'evaluation': ('models', 'engine'),
    'datasets': ('models', 'engine', 'evaluation'),
    'utils': ('models', 'engine', 'evaluation', 'datasets'),
    'visualization': ('models', 'engine'),
    'reproduction': ('models', 'engine', 'evaluation', 'datasets', 'utils', 'visualization'),
}
REGISTRIES = ('MODELS', 'DATASETS', 'TRANSFORMS', 'DATA_SAMPLERS', 'HOOKS', 'METRICS', 'OPTIM_WRAPPER_CONSTRUCTORS')
SUFFIXES = {'DATA_SAMPLERS': 'Sampler', 'HOOKS': 'Hook', 'METRICS': 'Metric',
            'OPTIM_WRAPPER_CONSTRUCTORS': 'OptimWrapperConstructor'}
FOLDERS = {'_base_', 'cifar', 'imagenet_lt', 'inat18', 'places_lt', 'tiny_imagenet_lt', 'lvis', 'demo'}
LEAF = re.compile(r'^(cascade_|faster_rcnn_|mask_rcnn_)?[a-z0-9]+(_32x4d|_64x4d)?'
                  r'(_mask_rcnn_[a-z0-9]+)?_(bn|nbn|cbn|wn)(_lr)?_[a-z0-9]+(_[a-z0-9]+)*?(_stage2)?'
                  r'_(cifar10_lt|cifar100_lt|imagenet_lt|inat18|places_lt|tiny_imagenet_lt|digits_lt|shapes_lvis|[12]x)(_ir\d+)?$')


def _imports(path):
    """Absolute dotted names of everything that a module imports, at any depth of its code."""
    package = ('nbn_mm',) + path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else ()
            prefix = '.'.join(base + tuple((node.module or '').split('.') if node.module else ()))
            yield prefix
            yield from (f'{prefix}.{alias.name}' for alias in node.names)


def _room_rule(table, path):
    room = path.relative_to(PACKAGE).parent.as_posix()
    matches = [r for r in table if r in ('', '.') or room == r or room.startswith(r + '/')]
    return table[max(matches, key=len)] if matches else ()


@pytest.mark.parametrize('path', MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_import_rules(path):
    names = set(_imports(path))
    forbidden = set(_room_rule(FORBIDDEN, path))
    if path.parent == PACKAGE / 'datasets':
        forbidden -= {DATASETS_OF.get(path.name)}
    assert not {n for n in names if n.split('.')[0] in forbidden}
    rooms = {n.replace('.', '/')[len('nbn_mm/'):] for n in names if n.startswith('nbn_mm.')}
    for room in _room_rule(FORBIDDEN_ROOMS, path):
        assert not {r for r in rooms if r == room or r.startswith(room + '/')}, f'must not import {room}'


def test_the_scan_sees_a_forbidden_import(tmp_path, monkeypatch):
    bad = tmp_path / 'nbn_mm' / 'models' / 'layers' / 'bad.py'
    bad.parent.mkdir(parents=True)
    bad.write_text('def f():\n    from mmdet.models import X\n    from ..placement import y\n')
    monkeypatch.setitem(globals(), 'PACKAGE', tmp_path / 'nbn_mm')
    with pytest.raises(AssertionError):
        test_import_rules(bad)
    assert 'nbn_mm.models.placement.y' in set(_imports(bad))


def _own(registry_name):
    """Our registered parts under a registry variable: root and the hosts' children."""
    root = getattr(registries, registry_name)
    for registry in [root, *root.children.values()]:
        if registry.scope in HOSTS:
            registry.import_from_location()
        for name, part in registry.module_dict.items():
            if getattr(part, '__module__', '').startswith('nbn_mm.'):
                yield registry, name, part


@pytest.mark.parametrize('registry_name', REGISTRIES)
def test_registered_names(registry_name):
    root = getattr(registries, registry_name)
    for registry, name, part in _own(registry_name):
        assert re.fullmatch(r'[A-Z][A-Za-z0-9]*', name), name
        assert name == part.__name__, f'{name} is registered under another name than its own'
        suffix = SUFFIXES.get(registry_name)
        assert suffix is None or name.endswith(suffix), f'{name} should end in {suffix}'
        if '.losses.' in part.__module__:
            assert name.endswith('Loss')
        if '.heads.' in part.__module__:
            assert name.endswith('Head')
        if '.classifiers.' in part.__module__:
            assert name.endswith('Classifier')
        if '.roi_heads.' in part.__module__:
            assert name.endswith(('Head', 'Loss'))
        for other in [root, *root.children.values()]:
            assert other is registry or name not in other.module_dict, f'{name} stands in {other.scope} as well'
        assert part.__doc__ and part.__doc__.strip(), f'{name} has no docstring'


def test_host_parts_are_listed():
    """Each name that a host module registers is in HOST_PARTS, so that a missing host can be told by name."""
    listed = {(part.module, variable, name)
              for part in HOST_PARTS if host_error(part.host) is None
              for variable, names in part.names.items() for name in names}
    found = {(part.__module__, variable, name)
             for variable in REGISTRIES for registry, name, part in _own(variable) if registry.scope in HOSTS}
    modules = {m for m, _, _ in listed}
    found = {(next(m for m in sorted(modules, key=len, reverse=True) if (mod + '.').startswith(m + '.')), v, n)
             for mod, v, n in found}
    assert found == listed


def test_config_names():
    for path in (ROOT / 'configs').rglob('*.py'):
        folder = path.relative_to(ROOT / 'configs').parts[0]
        assert folder in FOLDERS, f'{path}: unknown folder {folder}'
        if '_base_' not in path.parts:
            assert LEAF.match(path.stem), f'{path.name} does not follow the naming rule'


@pytest.mark.parametrize('name', [
    'resnet32_nbn_lr_bsl_cifar10_lt', 'resnet32_bn_ce_cifar10_lt_ir200', 'resnet32x4_nbn_lr_ce_cifar100_lt_ir50',
    'mask_rcnn_r50_nbn_seesaw_2x', 'cascade_mask_rcnn_r50_nbn_seesaw_2x', 'faster_rcnn_r50_bn_seesaw_2x',
    'resnext50_nbn_lr_bsl_imagenet_lt', 'resnet50_nbn_crt_stage2_imagenet_lt', 'mask_rcnn_x101_bn_seesaw_rfs_2x'])
def test_naming_rule_accepts(name):
    assert LEAF.match(name)


@pytest.mark.parametrize('name', ['resnet32_cifar10', 'ResNet32_bn_ce_cifar10_lt', 'resnet32_ce_bn_cifar10_lt_100'])
def test_naming_rule_refuses(name):
    assert not LEAF.match(name)
