"""The per-class table: made, written to CSV and read back; and the report of a training set's class groups."""
import csv
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.shot_groups import FEW, MANY, shot_groups
from .shot_accuracy import percent

COLUMNS = ('index', 'class', 'train_images', 'group', 'test_images')


def group_of_class(counts: Sequence[int], few: int = FEW, many: int = MANY) -> tuple[str, ...]:
    """Name of the shot group of each class.

    Args:
        counts (Sequence[int]): Training images per class, shape ``(C, )``.
        few (int): A class with fewer images is a few-shot class. Defaults to 20.
        many (int): A class with more images is a many-shot class. Defaults to 100.

    Returns:
        tuple[str]: ``'many'``, ``'medium'`` or ``'few'``, C times.
    """
    names = [''] * len(counts)
    for name, classes in shot_groups(counts, few, many).items():
        for index in classes:
            names[index] = name
    return tuple(names)


def per_class_table(hits: Mapping[int, tuple[np.ndarray, np.ndarray]], counts: Sequence[int], classes: Sequence[str],
                    few: int = FEW, many: int = MANY) -> list[dict[str, Any]]:
    """One row a class, in label order.

    Args:
        hits (Mapping): k to right predictions and test images per class, each of shape ``(C, )``; see
            :func:`~nbn_mm.evaluation.functional.class_hits`.
        counts (Sequence[int]): Training images per class, shape ``(C, )``.
        classes (Sequence[str]): Class names, length C.
        few (int): A class with fewer training images is a few-shot class. Defaults to 20.
        many (int): A class with more training images is a many-shot class. Defaults to 100.

    Returns:
        list[dict]: Rows with ``index, class, train_images, group, test_images`` and ``top{k}`` in percent (None for a
        class without test images).

    Raises:
        ValueError: If the lengths differ or there is no k.
    """
    if not hits:
        raise ValueError('the per-class table needs the hits of at least one k.')
    lengths = {len(counts), len(classes), *(len(array) for pair in hits.values() for array in pair)}
    if len(lengths) != 1:
        raise ValueError(f'the per-class table got different numbers of classes: {sorted(lengths)}.')
    groups = group_of_class(counts, few, many)
    total = next(iter(hits.values()))[1]
    accuracy = {k: percent(*pair) for k, pair in hits.items()}
    rows = []
    for index, name in enumerate(classes):
        row = dict(zip(COLUMNS, (index, name, int(counts[index]), groups[index], int(total[index])), strict=True))
        row.update({f'top{k}': float(values[index]) if total[index] else None for k, values in accuracy.items()})
        rows.append(row)
    return rows


def write_class_csv(rows: Sequence[Mapping[str, Any]], path: str | PathLike) -> None:
    """Write the rows of :func:`per_class_table`; accuracies with four decimals, an empty field for None.

    Folders on the way are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator='\n')
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f'{value:.4f}' if isinstance(value, float) else value for key, value in row.items()})


def read_class_csv(path: str | PathLike) -> list[dict[str, Any]]:
    """The inverse of :func:`write_class_csv`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no per-class table.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no per-class CSV {str(path)!r}. ShotGroupMetric writes one with '
                                "per_class_csv='…csv' in test_evaluator.")
    with path.open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    missing = [column for column in COLUMNS if not rows or column not in rows[0]]
    tops = [column for column in (rows[0] if rows else ()) if column and column.startswith('top')]
    if missing or not tops:
        raise ValueError(f'{str(path)!r} is no per-class table of ShotGroupMetric: it has no {missing or "top1"} '
                         'column.')
    try:
        for row in rows:
            row.update({key: int(row[key]) for key in ('index', 'train_images', 'test_images')})
            row.update({key: float(row[key]) if row[key] else None for key in tops})
    except (TypeError, ValueError) as error:
        raise ValueError(f'{str(path)!r} is damaged: {error}.') from None
    return rows


def class_group_report(record: Any, few: int = FEW, many: int = MANY) -> 'OrderedDict[str, Any]':
    """A training set's counts and groups, as plain values for print-out and JSON.

    Args:
        record (ClassCounts): What ``count_classes`` returns.
        few (int): A class with fewer images is a few-shot class. Defaults to 20.
        many (int): A class with more images is a many-shot class. Defaults to 100.

    Returns:
        OrderedDict[str, Any]: ``num_classes``, ``images`` (their sum over the classes), ``imbalance_factor``, ``gini``,
        ``hash``, ``few``, ``many`` (the thresholds), ``groups`` (name to classes and images) and ``classes`` (a list of
        ``index, class, train_images, group``).
    """
    counts = record.images
    groups = OrderedDict((name, dict(classes=len(index), images=int(sum(counts[i] for i in index))))
                         for name, index in shot_groups(counts, few, many).items())
    rows = [dict(zip(COLUMNS, row, strict=False))
            for row in zip(range(len(counts)), record.classes, counts, group_of_class(counts, few, many), strict=True)]
    return OrderedDict(num_classes=len(counts), images=int(sum(counts)), imbalance_factor=record.imbalance_factor,
                       gini=record.gini, hash=record.hash, few=few, many=many, groups=groups, classes=rows)


def format_class_group_report(report: Mapping[str, Any]) -> str:
    """The report of :func:`class_group_report` as text."""
    factor, gini = report['imbalance_factor'], report['gini']
    lines = [f"{report['num_classes']} classes, {report['images']} training images, "
             f"imbalance factor {'-' if factor is None else format(factor, '.1f')}, Gini "
             f"{'-' if gini is None else format(gini, '.3f')}, hash {report['hash']}"]
    bounds = dict(many=f"> {report['many']}", medium=f"{report['few']} to {report['many']}", few=f"< {report['few']}")
    for name, group in report['groups'].items():
        lines.append(f"{name:<6} ({bounds[name]} images a class): {group['classes']} classes, {group['images']} images")
    width = max(len('class'), *(len(row['class']) for row in report['classes']))
    lines.append(f"{'index':>5}  {'class':<{width}}  {'images':>8}  group")
    lines += [f"{row['index']:>5}  {row['class']:<{width}}  {row['train_images']:>8}  {row['group']}"
              for row in report['classes']]
    return '\n'.join(lines)
