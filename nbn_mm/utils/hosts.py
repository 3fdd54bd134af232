"""Registration of the parts that stand on a host (mmpretrain or mmdet).

A host that is absent, or present but broken, removes only its own parts: each of their names is then registered in
mmengine's root registry as a stub that raises :class:`ImportError` with the host's original error when it is built.
"""
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mmengine.registry as registries

from .versions import check_host

HOSTS = ('mmpretrain', 'mmdet')


@dataclass(frozen=True)
class HostPart:
    """A module that needs a host, and the names it registers there.

    Args:
        host (str): ``'mmpretrain'`` or ``'mmdet'``.
        module (str): Module of this package that imports the host.
        names (dict): mmengine registry variable (``'MODELS'``, ``'DATASETS'``, …) to the registered names.
        on_demand (bool): Whether the module is imported together with the host's own parts of these registries, at the
            first look-up. ``mmdet.datasets`` alone takes a second. Defaults to False.
    """
    host: str
    module: str
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    on_demand: bool = False


HOST_PARTS: tuple[HostPart, ...] = (
    HostPart('mmpretrain', 'nbn_mm.models.heads', dict(MODELS=(
        'BalancedContrastiveHead', 'DualPathClsHead', 'LongTailClsHead', 'MultiExpertClsHead',
        'RoutedExpertClsHead'))),
    HostPart('mmpretrain', 'nbn_mm.models.classifiers', dict(MODELS=('DistilledClassifier', 'RoutedClassifier'))),
    HostPart('mmpretrain', 'nbn_mm.models.data_preprocessors', dict(MODELS=(
        'BatchClsDataPreprocessor', 'MultiViewClsDataPreprocessor'))),
    HostPart('mmpretrain', 'nbn_mm.datasets.cifar_lt', dict(DATASETS=('CIFAR10LT', 'CIFAR100LT'))),
    HostPart('mmpretrain', 'nbn_mm.datasets.cmo_dataset', dict(DATASETS=('CMODataset', ))),
    HostPart('mmpretrain', 'nbn_mm.datasets.image_list_lt', dict(DATASETS=(
        'ImageListLT', 'ImageNetLT', 'INaturalist2018', 'PlacesLT'))),
    HostPart('mmpretrain', 'nbn_mm.datasets.digits_lt', dict(DATASETS=('DigitsLT', ))),
    HostPart('mmpretrain', 'nbn_mm.datasets.device_dataset', dict(DATASETS=('DeviceDataset', ))),
    HostPart('mmdet', 'nbn_mm.models.roi_heads', dict(MODELS=(
        'EqualizationV2Loss', 'FastBBoxHead', 'FastConvFCBBoxHead', 'FastShared2FCBBoxHead',
        'FastShared4Conv1FCBBoxHead', 'FastFCNMaskHead', 'FastStandardRoIHead', 'FastCascadeRoIHead'))),
    HostPart('mmpretrain', 'nbn_mm.datasets.cls_transforms', dict(TRANSFORMS=(
        'ReducedRandomResizedCrop', 'ReducedResizeEdge', 'TableColorJitter'))),
    HostPart('mmdet', 'nbn_mm.datasets.lvis_dataset', dict(DATASETS=('LVISFormatDataset', )), on_demand=True),
    HostPart('mmdet', 'nbn_mm.datasets.det_transforms', dict(TRANSFORMS=('ReducedResize', )), on_demand=True),
)

_errors: dict[str, Exception | None] = {}


def host_error(host: str) -> Exception | None:
    """The error with which a host failed to import, or None when it imports.

    Args:
        host (str): ``'mmpretrain'`` or ``'mmdet'``.

    Raises:
        ValueError: If ``host`` is no host of this package.
    """
    if host not in HOSTS:
        raise ValueError(f'host={host!r} is unknown; the hosts are {HOSTS}.')
    if host not in _errors:
        error = _import_host(host)
        if error is not None and not isinstance(error, ImportError):
            # Each host imports the other where it finds it, and expects only an ImportError from it. If the other one
            # is the culprit, this host imports without it.
            with _hidden(*(other for other in HOSTS if other != host)):
                error = error if _import_host(host) else None
        _errors[host] = error
    return _errors[host]


def _import_host(host: str) -> Exception | None:
    try:
        check_host(host, importlib.import_module(host))
        for room in ('registry', 'models'):
            importlib.import_module(f'{host}.{room}')
    # A broken host fails in many ways: ImportError, RuntimeError of a compiled op, AssertionError of a version check.
    except Exception as error:
        return error
    return None


@contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Let imports of packages fail with ModuleNotFoundError for a while."""
    taken = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split('.')[0] in packages}
    sys.modules.update(dict.fromkeys(packages))
    try:
        yield
    finally:
        for package in packages:
            del sys.modules[package]
        sys.modules.update(taken)


def register_host_parts() -> None:
    """Import the parts of every host that works and register stubs for those of a host that does not."""
    for part in HOST_PARTS:
        error = host_error(part.host)
        if error is None:
            _import_part(part)
            continue
        for variable, names in part.names.items():
            registry = getattr(registries, variable)
            for name in names:
                if registry.get(name) is None:
                    registry.register_module(name=name, module=_stub(name, part.host, error))


def _import_part(part: HostPart) -> None:
    if part.on_demand:
        registries_of_host = importlib.import_module(f'{part.host}.registry')
        found = [getattr(registries_of_host, variable) for variable in part.names]
        if not any(registry._imported for registry in found):  # else the host's own parts are there already
            for registry in found:
                registry._locations.append(part.module)
            return
    importlib.import_module(part.module)


def _stub(name: str, host: str, error: Exception) -> type:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        raise ImportError(f'{name!r} needs {host}, which could not be imported. The original error was '
                          f'{type(error).__name__}: {error}') from error

    return type(name, (), {'__init__': __init__, '__doc__': f'Stands in for {name}: {host} does not import.'})
