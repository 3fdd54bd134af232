"""The label of each position of a data set, as samplers index it."""
from numbers import Integral
from typing import Any

import numpy as np
from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from torch.utils.data import ConcatDataset, Subset

from ..class_counts import cat_ids


def image_labels(dataset: Any) -> np.ndarray:
    """Label of each item of a single-label data set, wrappers included.

    Args:
        dataset: A data set of mmengine's interface, or a wrapper of such data sets.

    Returns:
        np.ndarray: Labels, int64, shape ``(len(dataset), )``.

    Raises:
        TypeError: If labels can't be read.
        ValueError: If an image has not exactly one label, or there are no images.
    """
    labels = _labels(dataset)
    if len(labels) == 0:
        raise ValueError(f'{type(dataset).__name__} holds no images to sample. Check train_dataloader.dataset.')
    return labels


def _labels(dataset: Any) -> np.ndarray:
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    inner = getattr(dataset, 'dataset', None)
    if isinstance(dataset, Subset):
        return _labels(inner)[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, ConcatDataset):
        return np.concatenate([_labels(part) for part in dataset.datasets])
    if isinstance(dataset, RepeatDataset):
        return np.tile(_labels(inner), dataset.times)
    if isinstance(dataset, ClassBalancedDataset):
        return _labels(inner)[np.asarray(dataset.repeat_indices, dtype=np.int64)]
    if inner is not None and hasattr(inner, '__len__') and len(inner) == len(dataset):
        return _labels(inner)
    return np.array([_only_label(dataset, index) for index in range(len(dataset))], dtype=np.int64)


def _only_label(dataset: Any, index: int) -> int:
    labels = cat_ids(dataset, index)
    if len(labels) != 1 or not isinstance(labels[0], Integral) or labels[0] < 0:
        raise ValueError(f'{type(dataset).__name__}: image {index} has the labels {list(labels)[:5]}; a sampler by class '
                         'needs exactly one, 0 or more. Choose another train_dataloader.sampler.')
    return int(labels[0])
