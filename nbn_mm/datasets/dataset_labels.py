"""Labels of images, through the wrappers of a data set: the one place that knows the wrappers."""
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from torch.utils.data import ConcatDataset, Subset


def leaves_of(dataset: Any, indices: np.ndarray | None = None) -> Iterator[tuple[Any, np.ndarray | None]]:
    """Look through the wrappers of a data set, distinct images only.

    Args:
        dataset: A data set of mmengine's interface, or a wrapper of such data sets.
        indices (np.ndarray, optional): The items in use, shape ``(M, )``. Defaults to all.

    Yields:
        tuple: A data set that holds labels itself, and its distinct indices in use, ascending (None: all).

    Raises:
        TypeError: If a wrapper is unknown and not one to one.
    """
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    inner = getattr(dataset, 'dataset', None)
    if isinstance(dataset, Subset):
        own = np.asarray(dataset.indices, dtype=np.int64).reshape(-1)
        own = np.where(own < 0, own + len(inner), own)
        yield from leaves_of(inner, own if indices is None else own[indices])
    elif isinstance(dataset, ConcatDataset):
        start = 0
        for part in dataset.datasets:
            stop = start + len(part)
            yield from leaves_of(
                part, None if indices is None else indices[(indices >= start) & (indices < stop)] - start)
            start = stop
    elif isinstance(dataset, RepeatDataset):
        yield from leaves_of(inner, None if indices is None else indices % max(len(inner), 1))
    elif isinstance(dataset, ClassBalancedDataset):
        # Every image is repeated at least once, so that the whole wrapper holds the whole set.
        yield from leaves_of(inner, None if indices is None else np.asarray(dataset.repeat_indices)[indices])
    elif inner is not None and hasattr(inner, '__len__') and len(inner) == len(dataset):
        # One to one: mmpretrain's KFoldDataset (its `dataset` is the fold already), mmdet's MultiImageMixDataset.
        yield from leaves_of(inner, indices)
    elif inner is not None and not hasattr(dataset, 'get_cat_ids'):
        raise TypeError(f'class counts: {type(dataset).__name__} wraps {len(inner)} images and yields {len(dataset)}, '
                        'and how is not known. Give the counts in `class_counts` of ClassCountsHook, or the wrapper a '
                        'get_cat_ids.')
    else:
        yield dataset, None if indices is None else np.unique(indices)


def cat_ids(dataset: Any, index: int) -> Sequence:
    """Labels of one image of a data set: of its boxes in detection, one in single-label classification.

    Args:
        dataset: A data set of mmengine's interface.
        index (int): Index of the image.

    Returns:
        Sequence[int]: The labels.

    Raises:
        TypeError: If the data set doesn't tell them.
    """
    if hasattr(dataset, 'get_cat_ids'):
        try:
            return dataset.get_cat_ids(index)
        except (NotImplementedError, KeyError):  # mmengine's base class, or a host's without its labels: see below
            pass
    info = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}
    if 'instances' in info:
        return [instance['bbox_label'] for instance in info['instances']]
    if 'gt_label' in info:
        return np.atleast_1d(np.asarray(info['gt_label'])).tolist()
    raise TypeError(f'class counts: the labels of {type(dataset).__name__} can\'t be read: get_cat_ids gives none, and '
                    f'get_data_info gives neither `gt_label` nor `instances`. Give the counts in `class_counts` of '
                    'ClassCountsHook.')


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
        raise ValueError(f'{type(dataset).__name__}: image {index} has the labels {list(labels)[:5]}; a sampler by '
                         'class needs exactly one, 0 or more. Choose another train_dataloader.sampler.')
    return int(labels[0])
