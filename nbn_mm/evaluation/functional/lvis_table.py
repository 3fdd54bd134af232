"""The tables of an LVIS evaluation: the printed one, and one row a class for a CSV file."""
import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.frequency_groups import GROUPS
from .class_table import write_class_csv
from .lvis_ground_truth import LVISGroundTruth

AP_COLUMNS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf')
ROWS = dict(bbox='box', segm='mask')
CLASS_COLUMNS = ('class', 'frequency', 'train_images', 'train_instances', 'test_images', 'test_instances')
ABSENT = '–'


def describe_groups(frequencies: Sequence[str], present: Sequence[bool]) -> str:
    """How many categories of each frequency group have ground truth.

    Args:
        frequencies (Sequence[str]): ``'r'``, ``'c'`` or ``'f'`` of each category, length K.
        present (Sequence[bool]): Whether it has ground truth, length K.

    Returns:
        str: For example ``'r 3 of 5, c 2 of 2, f 0 of 0'``.
    """
    total = Counter(frequencies)
    found = Counter(group for group, has in zip(frequencies, present, strict=True) if has)
    return ', '.join(f'{group} {found[group]:,} of {total[group]:,}' for group in GROUPS)


def format_lvis_table(summaries: Mapping[str, Mapping[str, float]],
                      by_size: Mapping[str, Mapping[tuple[str, str], float]] | None = None) -> str:
    """The official results in percent.

    Args:
        summaries (Mapping): ``'bbox'`` and ``'segm'`` to results by their official names, fractions; what is absent or
            -1 is shown as '–'.
        by_size (Mapping, optional): ``'bbox'`` and ``'segm'`` to (frequency group, size) to AP, for a second block.

    Returns:
        str: One row a kind of IoU, one column an AP.
    """
    blocks = [_block(AP_COLUMNS, summaries)]
    if by_size is not None:
        columns = [(group, size) for group in GROUPS for size in 'sml']
        blocks.append(_block(columns, by_size, [f'{group}/{size}' for group, size in columns]))
    return '\n'.join(blocks)


def _block(columns: Sequence, rows: Mapping[str, Mapping], names: Sequence[str] | None = None) -> str:
    lines = [' ' * 4 + ''.join(f'{name:>7}' for name in names or columns)]
    for iou_type, values in rows.items():
        numbers = [values.get(column, -1.0) for column in columns]
        cells = [ABSENT if number < 0 else f'{100 * number:.1f}' for number in numbers]
        lines.append(f'{ROWS[iou_type]:<4}' + ''.join(f'{cell:>7}' for cell in cells))
    return '\n'.join(lines)


def class_occurrences(ground_truth: LVISGroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """Images that hold each category and its annotations, int64 of shape ``(K, )`` each."""
    num_classes = len(ground_truth.cat_ids)
    images = np.zeros(num_classes, dtype=np.int64)
    for img_id in ground_truth.img_ids:
        images[np.unique(ground_truth.labels[ground_truth.annotations_of(img_id)])] += 1
    return images, np.bincount(ground_truth.labels, minlength=num_classes)


def lvis_class_table(classes: Sequence[str], frequencies: Sequence[str], train_images: Sequence[int] | None,
                     train_instances: Sequence[int] | None, test_images: Sequence[int], test_instances: Sequence[int],
                     ap: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row a category, by ascending category id.

    Args:
        classes (Sequence[str]): Names, length K.
        frequencies (Sequence[str]): ``'r'``, ``'c'`` or ``'f'``, length K.
        train_images (Sequence[int], optional): Training images that hold the category, length K.
        train_instances (Sequence[int], optional): Its training instances, length K.
        test_images (Sequence[int]): Images of the ground truth that hold it, length K.
        test_instances (Sequence[int]): Its annotations, length K.
        ap (Mapping): ``'bbox'`` and ``'segm'`` to AP of each category as a fraction, shape ``(K, )``; NaN or negative
            where there is none.

    Returns:
        list[dict]: Rows with ``class, frequency, train_images, train_instances, test_images, test_instances``,
        ``bbox_AP`` and ``segm_AP`` (those given); None where there is nothing to say.
    """
    nothing = [None] * len(classes)
    columns: list[Sequence] = [classes, frequencies, nothing if train_images is None else train_images,
                               nothing if train_instances is None else train_instances, test_images, test_instances]
    rows = []
    for index, values in enumerate(zip(*columns, strict=True)):
        row = dict(zip(CLASS_COLUMNS, (v if v is None or isinstance(v, str) else int(v) for v in values), strict=True))
        row.update({f'{iou_type}_AP': float(each[index]) if each[index] >= 0 else None
                    for iou_type, each in ap.items()})
        rows.append(row)
    return rows


def write_lvis_class_csv(rows: Sequence[Mapping[str, Any]], path: str | PathLike) -> None:
    """Write the rows of :func:`lvis_class_table`; fractions unrounded, an empty field for None."""
    write_class_csv([{key: repr(value) if isinstance(value, float) else value for key, value in row.items()}
                     for row in rows], path)


def read_lvis_class_csv(path: str | PathLike) -> list[dict[str, Any]]:
    """The inverse of :func:`write_lvis_class_csv`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no per-class table of an LVIS evaluation, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no per-class CSV {str(path)!r}. StreamingLVISMetric writes one with '
                                "per_class_csv='…csv' in test_evaluator.")
    with path.open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    missing = [column for column in CLASS_COLUMNS if not rows or column not in rows[0]]
    aps = [column for column in (f'{iou_type}_AP' for iou_type in ROWS) if rows and column in rows[0]]
    if missing or not aps:
        raise ValueError(f'{str(path)!r} is no per-class table of StreamingLVISMetric: it has no '
                         f'{missing or "bbox_AP or segm_AP"} column.')
    try:
        for row in rows:
            if row['frequency'] not in GROUPS:
                raise ValueError(f"frequency {row['frequency']!r} of class {row['class']!r} is none of "
                                 f"{', '.join(GROUPS)}")
            row.update({key: int(row[key]) if row[key] else None for key in CLASS_COLUMNS[2:]})
            row.update({key: float(row[key]) if row[key] else None for key in aps})
    except (TypeError, ValueError) as error:
        raise ValueError(f'{str(path)!r} is damaged: {error}.') from None
    return rows
