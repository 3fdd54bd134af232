"""Frequency groups of LVIS: rare, common and frequent categories, the one place that decides them."""
from collections.abc import Sequence

# LVIS (Gupta et al., CVPR 2019): rare 1–10, common 11–100, frequent > 100 training images.
RARE = 10
COMMON = 100
GROUPS = {'r': 'rare', 'c': 'common', 'f': 'frequent'}


def check_frequency_thresholds(rare: int, common: int) -> None:
    """Raise if the thresholds make no groups.

    Raises:
        TypeError: If a threshold is no integer.
        ValueError: If not ``0 <= rare < common``.
    """
    for name, value in (('rare', rare), ('common', common)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f'frequency groups: {name}={value!r} must be an integer.')
    if not 0 <= rare < common:
        raise ValueError(f'frequency groups: rare={rare} and common={common} must be 0 <= rare < common.')


def frequency_of(images: Sequence[int], rare: int = RARE, common: int = COMMON) -> list[str]:
    """The frequency group of each category.

    Args:
        images (Sequence[int]): Training images that hold the category, length K.
        rare (int): A category with at most so many is rare. Defaults to 10.
        common (int): One with more than ``rare`` and at most so many is common, with more frequent. Defaults to 100.

    Returns:
        list[str]: ``'r'``, ``'c'`` or ``'f'``, length K. A category without images is rare, as in LVIS.
    """
    check_frequency_thresholds(rare, common)
    return ['r' if count <= rare else 'c' if count <= common else 'f' for count in images]
