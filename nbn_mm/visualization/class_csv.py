"""Per-class CSV files of several methods as the arrays that a figure takes."""
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from ..evaluation.functional.class_table import read_class_csv
from ..evaluation.functional.lvis_table import read_lvis_class_csv


def read_accuracies(tables: Sequence[tuple[str, str | PathLike]], k: int = 1) -> dict[str, Any]:
    """Read the per-class tables that ``ShotGroupMetric(per_class_csv=…)`` wrote for several methods on one data set.

    Args:
        tables (Sequence[tuple[str, PathLike]]): Name of the method and its CSV file.
        k (int): The top-k accuracies are taken. Defaults to 1.

    Returns:
        dict: ``counts`` (training images, shape ``(C, )``), ``class_names`` and ``accuracies`` (method to percent,
        shape ``(C, )``, NaN for a class without test images), the arguments of ``plot_accuracy_by_frequency``.

    Raises:
        FileNotFoundError: If a file doesn't exist.
        ValueError: If there is no table, a name stands twice, a file is no per-class table or lacks top-k, or the
            tables differ in classes or training images.
    """
    if not tables:
        raise ValueError('there is no per-class CSV to read.')
    first: tuple | None = None
    accuracies: dict[str, np.ndarray] = {}
    for name, path in tables:
        rows = read_class_csv(path)
        if f'top{k}' not in rows[0]:
            raise ValueError(f'{str(path)!r} has no column top{k}. Set topk of ShotGroupMetric so that it contains '
                             f'{k}.')
        key = ([row['class'] for row in rows], [row['train_images'] for row in rows])
        if first is not None and key != first[1]:
            what = 'classes' if key[0] != first[1][0] else 'training images'
            raise ValueError(f'{str(path)!r} and {str(first[0])!r} differ in their {what}: they are not of one '
                             'training set.')
        first = first or (path, key)
        if name in accuracies:
            raise ValueError(f'the name {name!r} stands twice; give each method a name of its own.')
        accuracies[name] = np.array([np.nan if row[f'top{k}'] is None else row[f'top{k}'] for row in rows])
    return dict(counts=np.array(first[1][1]), class_names=first[1][0], accuracies=accuracies)


def read_ap(tables: Sequence[tuple[str, str | PathLike]], iou_type: str = 'segm') -> dict[str, Any]:
    """Read the per-class tables that ``StreamingLVISMetric(per_class_csv=…)`` wrote for methods on one data set.

    Args:
        tables (Sequence[tuple[str, PathLike]]): Name of the method and its CSV file.
        iou_type (str): ``'bbox'`` for the AP of boxes, ``'segm'`` for that of masks. Defaults to ``'segm'``.

    Returns:
        dict: ``train_images`` (shape ``(K, )``), ``frequencies`` (length K) and ``ap`` (method to percent, shape
        ``(K, )``, NaN for a class without ground truth), the arguments of ``plot_ap_by_frequency``.

    Raises:
        FileNotFoundError: If a file doesn't exist.
        ValueError: If there is no table, a name stands twice, a file is no per-class table or lacks the AP or the
            training images, or the tables differ in classes, training images or frequency groups.
    """
    if not tables:
        raise ValueError('there is no per-class CSV to read.')
    first: tuple | None = None
    ap: dict[str, np.ndarray] = {}
    for name, path in tables:
        rows = read_lvis_class_csv(path)
        column = f'{iou_type}_AP'
        if column not in rows[0]:
            raise ValueError(f'{str(path)!r} has no column {column}: set metric of StreamingLVISMetric so that it '
                             f'contains {iou_type!r}.')
        unknown = next((row['class'] for row in rows if row['train_images'] is None), None)
        if unknown is not None:
            raise ValueError(f'{str(path)!r} has no training images for class {unknown!r}: the annotation file holds '
                             "no `image_count`. Evaluate with frequency='class_counts' of StreamingLVISMetric.")
        key = {what: [row[what] for row in rows] for what in ('class', 'train_images', 'frequency')}
        different = [] if first is None else [what for what in key if key[what] != first[1][what]]
        if different:
            raise ValueError(f'{str(path)!r} and {str(first[0])!r} differ in the column {different[0]!r}: they are not '
                             'of one data set.')
        first = first or (path, key)
        if name in ap:
            raise ValueError(f'the name {name!r} stands twice; give each method a name of its own.')
        ap[name] = np.array([np.nan if row[column] is None else 100 * row[column] for row in rows])
    return dict(train_images=np.array(first[1]['train_images']), frequencies=first[1]['frequency'], ap=ap)
