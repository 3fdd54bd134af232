"""What is in a prepared data set of image files, and what is wrong with it."""
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from .image_list import (
    ImageList,
    check_classes,
    duplicates_between,
    find_missing,
    flat_validation,
    read_image_list,
    scan_image_folder,
    some,
)
from .inaturalist_json import read_inaturalist
from .known_sets import KNOWN_SETS, differences
from .shot_groups import shot_groups

# The published files of a set: name of the split to file.
LISTS = {
    'ImageNet-LT': {split: f'ImageNet_LT_{split}.txt' for split in ('train', 'val', 'test')},
    'Places-LT': {split: f'Places_LT_{split}.txt' for split in ('train', 'val', 'test')},
    'iNaturalist 2018': dict(train='train2018.json', val='val2018.json'),
}


@dataclass
class SetReport:
    """The outcome of a check.

    Args:
        lines (list[str]): What there is.
        problems (list[str]): What is wrong; training would stop at it, or its figures would not be comparable.
    """
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """str: For a terminal."""
        verdict = [f'PROBLEM: {text}' for text in self.problems] or ['No problem was found.']
        return '\n'.join([*self.lines, *verdict])


def check_set(files: dict[str, str | PathLike], folder: str | PathLike, known: str | None = None, decode: bool = True,
              workers: int | None = None) -> SetReport:
    """Check the splits of a data set.

    Args:
        files (dict): Name of each split to its list file, JSON file of iNaturalist, or folder of one subfolder a class;
            ``'train'`` tells the groups.
        folder (str | PathLike): Folder of the images.
        known (str, optional): Published set to compare with, a key of ``KNOWN_SETS``.
        decode (bool): Whether to decode each image. Defaults to True.
        workers (int, optional): Processes that decode. Defaults to the number of CPUs.

    Returns:
        SetReport: What there is, and what is wrong.
    """
    report, lists = SetReport(), {}
    for split, path in files.items():
        try:
            lists[split] = _read(path, folder)
        except (FileNotFoundError, ValueError) as error:
            report.problems.append(f'{split}: {error}')
    classes = len(lists['train'].counts()) if 'train' in lists else None
    for split, images in lists.items():
        _check_split(report, split, images, folder, classes, known, decode, workers)
    names = list(lists)
    for index, first in enumerate(names):
        for second in names[index + 1:]:
            common = duplicates_between([lists[first], lists[second]])
            if common:
                report.problems.append(f'{len(common)} images stand in {first} and in {second}: {some(common)}.')
    return report


def check_known_set(name: str, data_root: str | PathLike, decode: bool = True, workers: int | None = None) -> SetReport:
    """Check a published set in its usual place.

    Args:
        name (str): A key of :data:`LISTS`.
        data_root (str | PathLike): Folder of its lists and images.
        decode (bool): As in :func:`check_set`.
        workers (int, optional): As in :func:`check_set`.

    Returns:
        SetReport: What there is, and what is wrong.
    """
    return check_set({split: Path(data_root) / file for split, file in LISTS[name].items()}, data_root, name, decode,
                     workers)


def _read(path: str | PathLike, folder: str | PathLike) -> ImageList:
    if str(path).endswith('.json'):
        return read_inaturalist(str(path), Path(path).parent / 'categories.json')
    if Path(path).is_dir():
        images = scan_image_folder(path)
        below = os.path.relpath(path, folder)
        return replace(images, paths=tuple(os.path.join(below, name) for name in images.paths))
    return flat_validation(read_image_list(path), folder)


def _check_split(report: SetReport, split: str, images: ImageList, folder: str | PathLike, classes: int | None,
                 known: str | None, decode: bool, workers: int | None) -> None:
    counts = images.counts(classes)
    report.lines.append(f'{split}: {len(images.paths):,} images of {int((counts > 0).sum()):,} classes, '
                        f'{counts.max():,} … {counts[counts > 0].min():,} a class ({images.source})')
    if split == 'train':
        groups = shot_groups(counts.tolist())
        report.lines.append('  groups by training images: ' + ', '.join(
            f'{name} {len(members)}' for name, members in groups.items()))
    try:
        check_classes(images, classes, complete=split == 'train')
    except ValueError as error:
        report.problems.append(f'{split}: {error}')
    if known is not None and split in KNOWN_SETS[known]:
        report.problems += [f'{split} is not the published {known}: {text}.'
                            for text in differences(images, known, split)]
    missing = find_missing(images.paths, folder)
    if missing:
        report.problems.append(f'{split}: {len(missing):,} of {len(images.paths):,} images are not in '
                               f'{str(folder)!r}: {some(missing)}.')
    if decode:
        absent = set(missing)
        broken = corrupt_images([path for path in images.paths if path not in absent], folder, workers)
        if broken:
            shown = some([f'{path} ({reason})' for path, reason in broken], number=20)
            report.problems.append(f'{split}: {len(broken)} images can not be decoded: {shown}.')


def corrupt_images(paths: Sequence[str], folder: str | PathLike, workers: int | None = None) -> list[tuple[str, str]]:
    """The images that Pillow can't decode, with its reason.

    Args:
        paths (Sequence[str]): Relative to ``folder``.
        folder (str | PathLike): Folder of the images.
        workers (int, optional): Processes. Defaults to the number of CPUs.

    Returns:
        list[tuple[str, str]]: Path and reason, in order.
    """
    workers = os.cpu_count() or 1 if workers is None else workers
    full = [os.path.join(folder, path) for path in paths]
    if workers <= 1 or len(paths) < 200:
        reasons = [_reason(path) for path in full]
    else:
        with ProcessPoolExecutor(workers) as pool:
            reasons = list(pool.map(_reason, full, chunksize=64))
    return [(path, reason) for path, reason in zip(paths, reasons, strict=True) if reason]


def _reason(path: str) -> str:
    try:
        with Image.open(path) as image:
            np.asarray(image.convert('RGB'))
    except Exception as error:  # a damaged file raises nearly anything
        return f'{type(error).__name__}: {error}'
    return ''
