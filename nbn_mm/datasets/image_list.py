"""List files of images: reading them, and what can be wrong with them.

The form is that of ImageNet-LT (Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019,
arXiv:1904.05160): one image a line, its path, a blank and the number of its class.
"""
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.webp', '.tif', '.tiff')


@dataclass(frozen=True)
class ImageList:
    """Images and their classes.

    Args:
        paths (tuple[str]): Relative to the folder of the images, length N.
        labels (np.ndarray): int64, shape ``(N, )``.
        source (str): Where they come from, for messages.
        classes (tuple[str], optional): Class names, in label order, where the source tells them.
    """
    paths: tuple[str, ...]
    labels: np.ndarray
    source: str
    classes: tuple[str, ...] | None = None

    def counts(self, num_classes: int | None = None) -> np.ndarray:
        """Images of each class, int64, shape ``(C, )``."""
        return np.bincount(self.labels, minlength=num_classes or 0)


def read_image_list(path: str | PathLike) -> ImageList:
    """Read a list file.

    Args:
        path (str | PathLike): UTF-8 lines of ``path label``, where a path may hold blanks; empty lines are passed over.

    Returns:
        ImageList: In the order of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If lines are unreadable, an image stands twice, or there is none; with the line numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no list file {str(path)!r}.')
    paths: list[str] = []
    labels: list[int] = []
    numbers: list[int] = []
    unreadable = []
    for number, line in enumerate(path.read_bytes().removeprefix(b'\xef\xbb\xbf').splitlines(), 1):
        parts = line.strip().rsplit(None, 1)
        if not parts:
            continue
        try:
            name, label = (part.decode() for part in parts)
        except ValueError:  # one part, or no UTF-8
            unreadable.append(number)
            continue
        if not (label.isascii() and label.isdecimal()):
            unreadable.append(number)
            continue
        paths.append(name)
        labels.append(int(label))
        numbers.append(number)
    if unreadable:
        raise ValueError(f'{path}: {len(unreadable)} lines are no `path label`: {some(unreadable, "line {}")}.')
    first: dict[str, int] = {}
    twice = []
    for name, number in zip(paths, numbers, strict=True):
        if first.setdefault(name, number) != number:
            twice.append(f'{number} (as line {first[name]}, {name})')
    if twice:
        raise ValueError(f'{path}: {len(twice)} images stand twice: {some(twice, "line {}")}.')
    if not paths:
        raise ValueError(f'{path} lists no images.')
    return ImageList(tuple(paths), np.array(labels, dtype=np.int64), str(path))


def scan_image_folder(folder: str | PathLike, complete: bool = True) -> ImageList:
    """List a folder of one subfolder a class, both in alphabetical order.

    Args:
        folder (str | PathLike): The folder.
        complete (bool): Whether each subfolder must hold an image. Defaults to True.

    Returns:
        ImageList: With the names of the subfolders as class names.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no subfolders, or one of them holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'there is no folder {str(folder)!r}.')
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if not classes:
        raise ValueError(f'{str(folder)!r} holds no subfolders; one a class is expected.')
    paths: list[str] = []
    labels: list[int] = []
    empty = []
    for label, name in enumerate(classes):
        members = sorted(str(Path(root, file).relative_to(folder)) for root, _, files in os.walk(folder / name)
                         for file in files if file.lower().endswith(IMAGE_SUFFIXES))
        if not members:
            empty.append(name)
        paths += members
        labels += [label] * len(members)
    if empty and (complete or not paths):
        raise ValueError(f'{str(folder)!r}: {len(empty)} class folders hold no image: {some(empty)}.')
    return ImageList(tuple(paths), np.array(labels, dtype=np.int64), str(folder), tuple(classes))


def in_order_of(images: ImageList, classes: Sequence[str]) -> ImageList:
    """Labels by the names of the classes (folders, categories), where a data set is given names, too.

    Args:
        images (ImageList): With ``classes``.
        classes (Sequence[str]): The names given, in label order.

    Returns:
        ImageList: With these classes. Names that are others than those of the list are taken by position.

    Raises:
        ValueError: If names are others and their number is, too.
    """
    if images.classes is None or tuple(images.classes) == tuple(classes):
        return images
    unknown = sorted(set(images.classes) - set(classes))
    if not unknown:
        label = {name: index for index, name in enumerate(classes)}
        table = np.array([label[name] for name in images.classes], dtype=np.int64)
        return replace(images, labels=table[images.labels], classes=tuple(classes))
    if len(images.classes) != len(classes):
        raise ValueError(f'{images.source} has {len(images.classes)} classes, and {len(unknown)} of them '
                         f'({some(unknown)}) are none of the {len(classes)} names given: which label is whose cannot '
                         'be told. Check `classes` of the data set.')
    return images


def check_classes(images: ImageList, num_classes: int | None = None, complete: bool = True) -> None:
    """Raise if labels lie outside of the classes, or, where all classes are expected, have gaps.

    Args:
        images (ImageList): The list.
        num_classes (int, optional): Number of classes. Defaults to the largest label plus one.
        complete (bool): Whether every class must have an image. Defaults to True.

    Raises:
        ValueError: With the labels in question.
    """
    if num_classes is not None:
        outside = sorted({int(label) for label in images.labels if label >= num_classes})
        if outside:
            raise ValueError(f'{images.source}: labels outside of the {num_classes} classes (0 … {num_classes - 1}): '
                             f'{some(outside)}. Check `classes` of the data set and the list.')
    counts = images.counts(num_classes)
    gaps = np.flatnonzero(counts == 0).tolist()
    if complete and gaps:
        raise ValueError(f'{images.source}: {len(gaps)} of {len(counts)} class ids have no image: {some(gaps)}. Class '
                         'ids must run from 0 without gaps in a training list.')


def find_missing(paths: Sequence[str], folder: str | PathLike) -> list[str]:
    """Which of the files do not exist; each folder is listed once, no file is asked for by itself.

    Args:
        paths (Sequence[str]): Relative to ``folder``.
        folder (str | PathLike): Folder of the images.

    Returns:
        list[str]: The missing ones, in order.
    """
    listings: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        parent, name = os.path.split(path)
        if parent not in listings:
            try:
                with os.scandir(os.path.join(folder, parent)) as entries:
                    listings[parent] = {entry.name for entry in entries}
            except (FileNotFoundError, NotADirectoryError):
                listings[parent] = set()
        if name not in listings[parent]:
            missing.append(path)
    return missing


def check_files(images: ImageList, folder: str | PathLike) -> None:
    """Raise if images of the list are absent.

    Raises:
        FileNotFoundError: How many, of how many, and the first five.
    """
    missing = find_missing(images.paths, folder)
    if missing:
        raise FileNotFoundError(f'{images.source}: {len(missing)} of {len(images.paths)} images are not in '
                                f'{str(folder)!r}: {some(missing)}. Check `data_root` and `data_prefix`.')


def class_folders(images: ImageList) -> tuple[str, ...] | None:
    """The folder of each class below the folder of them all, if every class has one of its own; None otherwise."""
    folders: dict[int, str] = {}
    for path, label in zip(images.paths, images.labels.tolist(), strict=True):
        name = path.rpartition('/')[0]
        if folders.setdefault(label, name) != name:
            return None
    names = [folders[label] for label in sorted(folders)]
    if not all(names) or not len(set(names)) == len(names) == max(folders) + 1:
        return None
    if len(names) == 1:
        return (os.path.basename(names[0]), )
    common = os.path.commonpath(names)
    return None if common in names else tuple(os.path.relpath(name, common or '.') for name in names)


def flat_validation(images: ImageList, folder: str | PathLike) -> ImageList:
    """ImageNet-LT's test list names ``val/n01440764/…``; ImageNet ships these images side by side in ``val/``.

    Args:
        images (ImageList): The list.
        folder (str | PathLike): Folder of the images.

    Returns:
        ImageList: With the paths of the images side by side if the first one lies so, else the list itself.
    """
    first = images.paths[0]
    if not first.startswith('val/') or not find_missing([first], folder):
        return images
    if find_missing([f'val/{os.path.basename(first)}'], folder):
        return images
    flat = tuple(f'val/{os.path.basename(path)}' if path.startswith('val/') else path for path in images.paths)
    return replace(images, paths=flat)


def write_image_list(images: ImageList, path: str | PathLike) -> None:
    """Write a list file.

    Args:
        images (ImageList): What to write.
        path (str | PathLike): The file; folders on the way are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f'{name} {label}' for name, label in zip(images.paths, images.labels.tolist(), strict=True)]
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def duplicates_between(lists: Sequence[ImageList]) -> list[str]:
    """Images that stand in more than one of several lists."""
    seen = Counter(name for images in lists for name in set(images.paths))
    return sorted(name for name, times in seen.items() if times > 1)


def some(items: Sequence, form: str = '{}', number: int = 5) -> str:
    """The first items as text."""
    text = ', '.join(form.format(item) for item in items[:number])
    return text + (', …' if len(items) > number else '')
