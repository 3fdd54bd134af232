"""Read all images of a data set once, into one tensor on a device."""
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..utils.memory import free_bytes, in_words

CHUNK = 1024


class DeviceImages(NamedTuple):
    """All images of a data set.

    Args:
        images (Tensor): uint8, shape ``(N, 3, H, W)``.
        labels (Tensor): int64, shape ``(N, )``.
        paths (list[str], optional): File of each image, if they come from files.
    """
    images: Tensor
    labels: Tensor
    paths: list[str] | None


def check_loading(dataset: Any) -> None:
    """Raise if a data set's own pipeline, which runs once an image, draws random numbers or packs.

    Args:
        dataset: The data set, or a wrapper of data sets.

    Raises:
        ValueError: Naming the transform.
    """
    for part in getattr(dataset, 'datasets', [getattr(dataset, 'dataset', None)]):
        if part is not None:
            check_loading(part)
    for transform in getattr(getattr(dataset, 'pipeline', None), 'transforms', ()):
        name = type(transform).__name__
        if getattr(transform, '_methods_with_randomness', None):
            raise ValueError(f'DeviceDataset: {name} in dataset.pipeline draws at random, but the pipeline of the '
                             'wrapped data set runs once an image, when it is read. Move it to the pipeline of '
                             'DeviceDataset.')
        if name == 'PackInputs':
            raise ValueError('DeviceDataset: PackInputs in dataset.pipeline packs single images. Leave it out there; '
                             'it stands in the pipeline of DeviceDataset.')


def check_room(dataset: Any, device: torch.device) -> None:
    """Raise if the images of a data set don't fit on a device; nothing is copied for it.

    Args:
        dataset: The data set.
        device (torch.device): Where they shall go.

    Raises:
        MemoryError: With the size, what is free, and what to set.
    """
    image = _image(dataset, 0)
    needed, free = len(dataset) * (image.nbytes + 8), free_bytes(device)
    if free is not None and needed > free:
        height, width = image.shape[:2]
        raise MemoryError(
            f'DeviceDataset: the {len(dataset)} images of {height}x{width} of {type(dataset).__name__} take '
            f'{in_words(needed)}, but {device} has {in_words(free)} free. '
            + ("Set device='cpu' in the DeviceDataset to keep them in main memory, s" if device.type != 'cpu' else 'S')
            + 'hrink them with a Resize in dataset.pipeline, take fewer with dataset.indices, or use the data set '
            'without DeviceDataset, which reads each image when its turn comes.')


def read_images(dataset: Any, device: torch.device) -> DeviceImages:
    """Read all images of a data set.

    Args:
        dataset: A data set of mmengine's interface whose items hold ``img``, uint8 ``(H, W, 3)``, and one label.
        device (torch.device): Where they go, in chunks, so that main memory never holds all of them.

    Returns:
        DeviceImages: Images, labels and files.

    Raises:
        MemoryError: If they don't fit.
        TypeError: If an image is not uint8 ``(H, W, 3)``.
        ValueError: If there are no images, they are of several sizes, an image has not exactly one label, or the first
            one is another at a second reading.
    """
    if len(dataset) == 0:
        raise ValueError(f'DeviceDataset: {type(dataset).__name__} holds no images. Check its data_root and ann_file.')
    check_room(dataset, device)
    first = _image(dataset, 0)
    height, width = first.shape[:2]
    images = torch.empty((len(dataset), 3, height, width), dtype=torch.uint8, device=device)
    labels, paths = np.empty(len(dataset), dtype=np.int64), []
    for start in range(0, len(dataset), CHUNK):
        chunk = []
        for index in range(start, min(start + CHUNK, len(dataset))):
            item = dataset[index]
            image = _image(dataset, index, item)
            if image.shape != first.shape:
                raise ValueError(
                    f'DeviceDataset: images of several sizes: {_name(dataset, 0)} is {height}x{width}, '
                    f'{_name(dataset, index, item)} is {image.shape[0]}x{image.shape[1]} (height x width). Bring them '
                    "to one size in dataset.pipeline, for example dict(type='ResizeEdge', scale=64) and "
                    "dict(type='CenterCrop', crop_size=64).")
            if index == 0 and not np.array_equal(image, first):
                raise ValueError(
                    f'DeviceDataset: {_name(dataset, index, item)} is another image when it is read again: '
                    'dataset.pipeline, which runs once an image, draws at random. Move what draws to the pipeline of '
                    'DeviceDataset.')
            labels[index] = _label(dataset, index, item)
            paths.append(item.get('img_path'))
            chunk.append(image)
        images[start:start + len(chunk)] = torch.from_numpy(np.stack(chunk)).to(device).permute(0, 3, 1, 2)
    return DeviceImages(images, torch.from_numpy(labels).to(device), None if None in paths else paths)


def _image(dataset: Any, index: int, item: Any = None) -> np.ndarray:
    item = dataset[index] if item is None else item
    image = item.get('img') if isinstance(item, dict) else None
    if image is None:
        kind = type(dataset).__name__
        if isinstance(item, dict) and 'img_path' in item:
            raise ValueError(f'DeviceDataset: {kind} gives files, not images. Add '
                             "dict(type='LoadImageFromFile') to dataset.pipeline.")
        held = sorted(item) if isinstance(item, dict) else type(item).__name__
        raise ValueError(f'DeviceDataset: image {index} of {kind} has no `img`, but {held}. The pipeline of the '
                         'wrapped data set must end with `img`, uint8 of shape (H, W, 3).')
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f'{image.dtype} of shape {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f'DeviceDataset: {_name(dataset, index, item)} is {found}; it takes uint8 of shape (H, W, 3). '
                        'Leave normalisation to data_preprocessor, and load grey images in colour '
                        "(dict(type='LoadImageFromFile', color_type='color')).")
    return image


def _label(dataset: Any, index: int, item: dict) -> int:
    labels: Sequence = np.atleast_1d(np.asarray(item['gt_label'])).tolist() if 'gt_label' in item else ()
    if len(labels) != 1 or isinstance(labels[0], (bool, float, str)):
        found = f'the labels {list(labels)}' if labels else 'no `gt_label`'
        raise ValueError(f'DeviceDataset: {_name(dataset, index, item)} has {found}; it takes data sets of one label '
                         'an image. Check the ann_file, or use the data set without DeviceDataset.')
    return int(labels[0])


def _name(dataset: Any, index: int, item: dict | None = None) -> str:
    item = dataset[index] if item is None else item
    return str(item.get('img_path') or f'image {index} of {type(dataset).__name__}')
