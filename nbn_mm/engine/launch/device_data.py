"""Data sets that live on the device: what their data loaders need, and what does not go with them."""
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

from ...datasets.transforms.batched import BatchedPipeline
from .checks import _parts, _types
from .errors import LaunchError

DATASET, HOOK, PACK = 'DeviceDataset', 'DeviceDataHook', 'PackInputs'
COLLATE = 'device_collate'
OPTIONS = ('dataset', 'pipeline', 'device', 'capture', 'cmo')  # of DeviceDataset, which stands on a host


def is_device_loader(loader: Any) -> bool:
    """Whether the data set of a data loader's config is a ``DeviceDataset``."""
    return next(_types({'type': ((loader or {}).get('dataset') or {}).get('type')}), None) == DATASET


def check_device_data(cfg: Config, names: tuple[str, ...]) -> None:
    """Check the data loaders of data sets on the device.

    Args:
        cfg (Config): The config of the run.
        names (tuple[str]): The data loaders in use.

    Raises:
        LaunchError: If one has workers or another collate function, the data set is wrapped, has an option of another
            data set, or its pipeline holds what has no batched form, or draws and nobody gives it a seed.
    """
    for name in names:
        loader = cfg.get(name) or {}
        for field, _, _ in _wrapped(loader, name):
            raise LaunchError(f'{field} is a {DATASET}, which gives whole batches and must be the outermost data set: '
                              f'put the wrapper into its `dataset`, {name}.dataset=dict(type={DATASET!r}, '
                              'dataset=dict(type=…, dataset=…), pipeline=[…]).')
        if not is_device_loader(loader):
            continue
        unknown = next((key for key in loader.dataset if key not in (*OPTIONS, 'type', '_scope_')), None)
        if unknown is not None:
            raise LaunchError(f'{name}.dataset.{unknown}={loader.dataset[unknown]!r}: a {DATASET} has the options '
                              f'{OPTIONS}. Those of the data set within it, which holds the images, are '
                              f'{name}.dataset.dataset.{unknown} and the like.')
        if loader.get('num_workers', 0):
            raise LaunchError(f'{name}.num_workers={loader.num_workers}: a {DATASET} works in the process of the '
                              f'model. Set {name}.num_workers=0, or use a data set that reads each image (in the CIFAR '
                              'configs the base *_per_image.py).')
        collate = next(_types({'type': (loader.get('collate_fn') or {}).get('type', COLLATE)}))
        if collate != COLLATE:
            raise LaunchError(f'{name}.collate_fn.type={collate!r} takes single samples, but a {DATASET} gives whole '
                              f'batches: set {name}.collate_fn=dict(type={COLLATE!r}).')
        try:
            draws = bool(BatchedPipeline(loader.dataset.get('pipeline', ())).transforms) or 'cmo' in loader.dataset
        except (TypeError, ValueError) as error:
            raise LaunchError(f'{name}.dataset.pipeline: {error}') from None
        hooks = _types([list((cfg.get('default_hooks') or {}).values()), cfg.get('custom_hooks') or []])
        if draws and HOOK not in hooks:
            raise LaunchError(f'{name}.dataset.pipeline draws at random, and nobody gives it a seed. Add '
                              f"default_hooks = dict(device_data=dict(type='{HOOK}')) to the config.")


def _wrapped(loader: dict, name: str) -> Iterator[tuple[str, str, dict]]:
    """The DeviceDatasets below the outermost data set of a loader."""
    field = f'{name}.dataset'
    return (part for part in _parts(loader.get('dataset'), field) if part[1] == DATASET and part[0] != field)


def set_device_loader(loader: ConfigDict) -> None:
    """Give the config of a data loader what a data set on the device needs, where it says nothing."""
    if is_device_loader(loader):
        loader.setdefault('collate_fn', ConfigDict(type=COLLATE))
        loader.pin_memory = loader.persistent_workers = False


def read_each_image(loader: ConfigDict, what: str = '--tta') -> None:
    """Turn the config of a data loader back into one that reads image by image, with the same pipeline.

    Args:
        loader (ConfigDict): Changed in place if its data set is a ``DeviceDataset``.
        what (str): What needs single images, for the error. Defaults to ``'--tta'``.

    Raises:
        LaunchError: If the ``DeviceDataset`` is around another wrapper.
    """
    if not is_device_loader(loader):
        return
    inner = loader.dataset.dataset
    if 'dataset' in inner or 'datasets' in inner:
        raise LaunchError(f'{what} needs single images, and {DATASET} wraps {inner.type}, which has no pipeline to add '
                          'to. Use a data set that reads each image.')
    inner.pipeline = [*inner.get('pipeline', ()), *loader.dataset.get('pipeline', ())]
    if PACK not in _types(inner.pipeline[-1:]):  # which whole batches do without
        inner.pipeline.append(ConfigDict(type=PACK))
    loader.dataset = inner
    loader.pop('collate_fn', None)
