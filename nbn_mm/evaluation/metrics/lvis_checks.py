"""Checks of ``StreamingLVISMetric`` before inference: its options, and class names against the annotation file."""
import logging
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from mmengine.logging import print_log

from ...datasets.class_counts import moved_labels
from ..functional.lvis_protocol import IOU_TYPES

RENAMED = 0.01  # share of the class names that may be spelled otherwise (mmdet spells one of LVIS v1 otherwise)


def check_metric(metric: str | Sequence[str]) -> list[str]:
    """The kinds of IoU that are asked for.

    Raises:
        ValueError: If one is unknown or stands twice, or there is none.
    """
    iou_types = [metric] if isinstance(metric, str) else list(metric)
    if not iou_types or len(set(iou_types)) != len(iou_types) or not set(iou_types) <= set(IOU_TYPES):
        raise ValueError(f"metric={metric!r} of StreamingLVISMetric must be 'bbox', 'segm' or ['bbox', 'segm'].")
    return iou_types


def check_outputs(per_class_csv: str | PathLike | None, outfile_prefix: str | None, format_only: bool) -> None:
    """Raise ValueError if the files that are asked for can't be written, or there are none with ``format_only``."""
    if per_class_csv is not None and not str(per_class_csv).endswith('.csv'):
        raise ValueError(f'per_class_csv={str(per_class_csv)!r} of StreamingLVISMetric must end in .csv.')
    if format_only and outfile_prefix is None:
        raise ValueError('format_only=True of StreamingLVISMetric needs outfile_prefix, the place of the result files.')
    if format_only and per_class_csv is not None:
        raise ValueError('format_only=True of StreamingLVISMetric evaluates nothing, so that there is no '
                         f'per_class_csv={str(per_class_csv)!r}. Remove one of them.')
    if outfile_prefix is not None and (outfile_prefix.endswith('/') or Path(outfile_prefix).is_dir()):
        raise ValueError(f'outfile_prefix={outfile_prefix!r} of StreamingLVISMetric is a folder; it must end in the '
                         "first part of a file name, for example 'work_dirs/results'.")


def check_classes(classes: Sequence[str], names: Sequence[str], owner: str, fields: str) -> None:
    """Compare class names by label with the categories of the annotation file.

    Up to 1 % of the names may be unknown to the file; they are logged as other spellings.

    Args:
        classes (Sequence[str]): Class names in label order.
        names (Sequence[str]): Category names of the file by ascending id.
        owner (str): Whose the class names are.
        fields (str): The config fields to check.

    Raises:
        ValueError: If number, order or names differ.
    """
    advice = f'Check {fields} and ann_file of StreamingLVISMetric.'
    if len(classes) != len(names):
        raise ValueError(f'the annotation file has {len(names)} categories, but {owner} has {len(classes)} classes. '
                         f'{advice}')
    different = [label for label, pair in enumerate(zip(classes, names, strict=True)) if pair[0] != pair[1]]
    moved = moved_labels(classes, names)
    if moved or len(different) > RENAMED * len(names):
        label = (moved or different)[0]
        what = 'stand in another order than' if moved else 'are others than'
        raise ValueError(f'the classes of {owner} {what} the categories of the annotation file by ascending id: label '
                         f'{label} is {classes[label]!r} there and {names[label]!r} in the file. {advice}')
    if different:
        pairs = ', '.join(f'{names[label]!r} as {classes[label]!r}' for label in different)
        print_log(f'StreamingLVISMetric: {owner} spells {len(different)} of {len(names)} category names otherwise: '
                  f'{pairs}.', logger='current', level=logging.WARNING)
