"""The official figures of LVIS from precision and recall, and finer ones."""
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from ...datasets.frequency_groups import GROUPS
from .lvis_accumulate import LVISResult
from .lvis_protocol import AREAS, IOU_THRESHOLDS


def summarize(result: LVISResult, frequencies: Sequence[str] | None) -> 'OrderedDict[str, float]':
    """The official results as fractions.

    Args:
        result (LVISResult): Precision and recall.
        frequencies (Sequence[str], optional): ``'r'``, ``'c'`` or ``'f'`` of each category, length K; None leaves APr,
            APc and APf out.

    Returns:
        OrderedDict[str, float]: ``AP, AP50, AP75, APs, APm, APl, APr, APc, APf, AR@300, ARs@300, ARm@300, ARl@300``,
        with the number of detections of ``result``; -1 where there is no category with annotations.

    Raises:
        ValueError: If the frequencies don't fit the categories.
    """
    precision, recall = result.precision, result.recall
    values = OrderedDict(AP=_mean(precision[..., 0]))
    for name, threshold in (('AP50', 0.5), ('AP75', 0.75)):
        values[name] = _mean(precision[np.flatnonzero(IOU_THRESHOLDS == threshold), ..., 0])
    for area, name in enumerate(AREAS[1:], 1):
        values[f'AP{name[0]}'] = _mean(precision[..., area])
    if frequencies is not None:
        for group in GROUPS:
            values[f'AP{group}'] = _mean(precision[:, :, _members(result, frequencies, group), 0])
    for area, name in enumerate(AREAS):
        values[f'AR{name[0] if area else ""}@{result.max_dets}'] = _mean(recall[..., area])
    return values


def per_class(result: LVISResult) -> np.ndarray:
    """AP of each category over all areas.

    Returns:
        np.ndarray: Float64 of shape ``(K, )``; nan for a category without annotations.
    """
    precision = result.precision[..., 0]
    ap = precision.mean(axis=(0, 1))
    return np.where(result.recall[0, :, 0] > -1, ap, np.nan)


def frequency_by_size(result: LVISResult, frequencies: Sequence[str]) -> 'OrderedDict[tuple[str, str], float]':
    """AP of each frequency group at each size.

    Args:
        result (LVISResult): Precision and recall.
        frequencies (Sequence[str]): ``'r'``, ``'c'`` or ``'f'`` of each category, length K.

    Returns:
        OrderedDict[tuple[str, str], float]: ``('r', 's')``, ``('r', 'm')``, ``('r', 'l')``, ``('c', 's')``, …; -1 where
        there is no category with annotations.

    Raises:
        ValueError: If the frequencies don't fit the categories.
    """
    return OrderedDict(((group, name[0]), _mean(result.precision[:, :, _members(result, frequencies, group), area]))
                       for group in GROUPS for area, name in enumerate(AREAS) if area)


def _members(result: LVISResult, frequencies: Sequence[str], group: str) -> list[int]:
    if len(frequencies) != result.recall.shape[1]:
        raise ValueError(f'{len(frequencies)} frequencies for {result.recall.shape[1]} categories.')
    return [label for label, frequency in enumerate(frequencies) if frequency == group]


def _mean(values: np.ndarray) -> float:
    """Mean of what is not -1, in the official order of addition; -1 if nothing is left."""
    values = values[values > -1]
    return float(np.mean(values)) if len(values) else -1
