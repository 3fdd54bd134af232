"""Many, medium and few classes: the one place that decides which class belongs to which group.

The thresholds are those of Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019,
arXiv:1904.05160: few below 20 training images, medium from 20 to 100 inclusive, many above 100.
"""
from collections import OrderedDict
from collections.abc import Sequence
from numbers import Integral

import numpy as np

FEW = 20
MANY = 100


def check_thresholds(few: int, many: int) -> None:
    """Raise if two thresholds can't cut the classes into groups.

    Args:
        few (int): A class with fewer images is a few-shot class.
        many (int): A class with more images is a many-shot class.

    Raises:
        TypeError: If a threshold is no integer.
        ValueError: If a threshold is negative or ``few - 1 > many``, so that a class would be few and many at once.
    """
    for name, value in (('few', few), ('many', many)):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f'shot group threshold {name}={value!r} must be an integer.')
        if value < 0:
            raise ValueError(f'shot group threshold {name}={value} must not be negative.')
    if few - 1 > many:
        raise ValueError(f'shot group thresholds few={few} and many={many} overlap: a class with {few - 1} images '
                         'would be few and many at once. `few` must be at most `many` + 1.')


def shot_groups(counts: Sequence[int] | np.ndarray, few: int = FEW,
                many: int = MANY) -> 'OrderedDict[str, np.ndarray]':
    """Group classes by their number of training images.

    A class without any training image is a few-shot class (0 < ``few``): it stays visible in the averages instead of
    vanishing from all groups.

    Args:
        counts (Sequence[int] | np.ndarray): Training images per class, shape ``(C, )``.
        few (int): A class with fewer images is a few-shot class. Defaults to 20.
        many (int): A class with more images is a many-shot class. Defaults to 100.

    Returns:
        OrderedDict[str, np.ndarray]: ``'many'``, ``'medium'``, ``'few'`` in this order to ascending class indices
        (int64). A group without classes is absent.

    Raises:
        TypeError: If a threshold or a count is no integer.
        ValueError: If thresholds overlap, or ``counts`` is empty, not one-dimensional or has a negative entry.
    """
    check_thresholds(few, many)
    counts = np.asarray(counts)
    if counts.ndim != 1 or counts.size == 0:
        raise ValueError(f'class counts must be one non-empty row of numbers, got shape {counts.shape}.')
    if not np.issubdtype(counts.dtype, np.integer):
        raise TypeError(f'class counts must be integers, got dtype {counts.dtype}.')
    if (counts < 0).any():
        index = int(np.argmax(counts < 0))
        raise ValueError(f'class counts must not be negative, got {counts[index]} for class {index}.')
    masks = (('many', counts > many), ('medium', (counts >= few) & (counts <= many)), ('few', counts < few))
    return OrderedDict((name, np.flatnonzero(mask)) for name, mask in masks if mask.any())
