"""LVIS-format files: reading them, and what can be wrong with them. Needs no host.

LVIS format (Gupta et al., CVPR 2019, arXiv:1908.03195) is COCO format plus, per category, ``frequency``,
``image_count`` and ``instance_count``, and, per image, ``neg_category_ids`` and ``not_exhaustive_category_ids``.
"""
import json
import math
import mmap
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from os import PathLike
from typing import Any

from ..utils.many_objects import without_cycle_search
from .frequency_groups import GROUPS

COCO_URL = re.compile(r'https?://images\.cocodataset\.org/')
FEDERATED = ('neg_category_ids', 'not_exhaustive_category_ids')


def read_lvis(path: str | PathLike, field: str = 'ann_file', object_hook: Callable[[dict], Any] | None = None
              ) -> dict[str, Any]:
    """Read an annotation file of COCO or LVIS format.

    Args:
        path (str | PathLike): The JSON file.
        field (str): What the error messages call the config field or option that names it.
        object_hook (Callable, optional): Of :func:`json.load`, for each object of the file. Defaults to None.

    Returns:
        dict: Its content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no JSON, or holds no ``images`` or no ``categories``.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'{field}={path!r}: there is no such file.')
    try:
        with open(path, encoding='utf-8-sig') as file, without_cycle_search():  # with or without a BOM
            content = json.load(file, object_hook=object_hook)
    except ValueError as error:
        raise ValueError(f'{field}={path!r} is no JSON file ({error}).') from None
    keys = ('images', 'categories')
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{field}={path!r} is no COCO- or LVIS-format file: it must hold the lists `images` and '
                         f'`categories`, but it holds {found}.')
    return content


def read_categories(path: str | PathLike, field: str = 'ann_file') -> list[dict]:
    """Read the categories of an annotation file alone, without parsing its images and annotations.

    Args:
        path (str | PathLike): The JSON file.
        field (str): What the error messages call the config field that names it.

    Returns:
        list[dict]: Its ``categories``, by ascending id.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of LVIS format.
    """
    if os.path.isfile(path) and os.path.getsize(path):
        with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = content.rfind(b'"categories"')
            text = re.compile(rb'"categories"\s*:\s*(?=\[\s*\{)').match(content, max(start, 0))
            stop = text and content.find(b'"annotations"', text.end())
            if text:
                part = content[text.end():stop if stop > 0 else len(content)].decode('utf-8', errors='replace')
                try:
                    categories = json.JSONDecoder().raw_decode(part)[0]
                    if all('name' in category for category in categories):
                        return sort_categories(categories)
                except (ValueError, KeyError):
                    pass  # not the list that was looked for: read it all
    return sort_categories(read_lvis(path, field)['categories'])


def sort_categories(categories: Iterable[dict]) -> list[dict]:
    """Categories by ascending id: label i of a detector is the i-th of them."""
    return sorted(categories, key=lambda category: category['id'])


def image_file(image: dict) -> str | None:
    """Path of an image below the data prefix.

    LVIS v1 tells it by ``coco_url`` (``http://images.cocodataset.org/train2017/000000391895.jpg`` is
    ``train2017/000000391895.jpg``), other sets by ``file_name``.

    Returns:
        str | None: The path; None if neither is there.
    """
    url = image.get('coco_url') or ''
    match = COCO_URL.match(url)
    return url[match.end():] if match else image.get('file_name') or None


def missing_files(paths: Iterable[str]) -> list[str]:
    """Paths that are no files, in order; each folder is listed once instead of asking for every file."""
    folders: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = {entry.name for entry in os.scandir(folder or '.')} if os.path.isdir(folder or '.') \
                else set()
        if name not in folders[folder]:
            missing.append(path)
    return missing


def examples(values: Collection, limit: int = 5) -> str:
    """The first values, and how many more there are."""
    values = list(values)
    more = f' and {len(values) - limit:,} more' if len(values) > limit else ''
    return ', '.join(map(str, values[:limit])) + more


def find_problems(content: dict[str, Any], needs_annotations: bool = True) -> Iterator[str]:
    """What a detector can't be trained or tested on, one sentence a kind of problem.

    Args:
        content (dict): An annotation file, see :func:`read_lvis`.
        needs_annotations (bool): Whether a file without ``annotations``, or with none (images of an evaluation server),
            is a problem.

    Yields:
        str: A problem, with the ids of what has it.
    """
    yield from _category_problems(content['categories'])
    yield from _image_problems(content['images'])
    if not content.get('annotations') and not needs_annotations:
        return
    if not isinstance(content.get('annotations'), list) or not content['annotations']:
        yield 'there are no annotations'
        return
    yield from _annotation_problems(content)


def _category_problems(categories: Sequence[dict]) -> Iterator[str]:
    if not categories:
        yield 'there are no categories'
    wrong = [category for category in categories if not isinstance(category.get('id'), int) or not category.get('name')]
    if wrong:
        yield f'categories without an integer `id` or a `name`: {examples(wrong, 2)}'
        return
    yield from _repeated('category ids', (category['id'] for category in categories))
    yield from _repeated('category names', (category['name'] for category in categories))
    with_frequency = [category for category in categories if 'frequency' in category]
    if with_frequency and len(with_frequency) < len(categories):
        lacking = [category['id'] for category in categories if 'frequency' not in category]
        yield f'some categories have a `frequency` and others have none: ids {examples(lacking)}'
    wrong = [f"{category['id']} ({category['frequency']!r})" for category in with_frequency
             if category['frequency'] not in GROUPS]
    if wrong:
        yield f'`frequency` must be one of {", ".join(GROUPS)}; it is another in the categories {examples(wrong)}'


def _image_problems(images: Sequence[dict]) -> Iterator[str]:
    if not images:
        yield 'there are no images'
    wrong = [image for image in images if 'id' not in image]
    if wrong:
        yield f'images without `id`: {examples(wrong, 2)}'
        return
    yield from _repeated('image ids', (image['id'] for image in images))
    wrong = [image['id'] for image in images if image_file(image) is None]
    if wrong:
        yield f'images with neither `file_name` nor a `coco_url` of images.cocodataset.org: ids {examples(wrong)}'
    wrong = [f"{image['id']} ({image.get('width')} x {image.get('height')})" for image in images
             if not all(isinstance(image.get(key), int) and image[key] > 0 for key in ('width', 'height'))]
    if wrong:
        yield f'images without a `width` and a `height` in pixels: ids {examples(wrong)}'


def _annotation_problems(content: dict[str, Any]) -> Iterator[str]:
    annotations = content['annotations']
    wrong = [annotation for annotation in annotations if 'id' not in annotation]
    if wrong:
        yield f'annotations without `id`: {examples(wrong, 1)}'
        return
    yield from _repeated('annotation ids', (annotation['id'] for annotation in annotations))
    images = {image.get('id') for image in content['images']}
    categories = {category.get('id') for category in content['categories']}
    found = defaultdict(list)
    for annotation in annotations:
        if annotation.get('category_id') not in categories:
            found['of a category_id that `categories` lacks'].append((annotation, 'category_id'))
        if annotation.get('image_id') not in images:
            found['of an image_id that `images` lacks'].append((annotation, 'image_id'))
        if not _is_box(annotation.get('bbox')):
            found['whose `bbox` is not four finite numbers'].append((annotation, 'bbox'))
        if not _is_finite(annotation.get('area')):
            found['whose `area` is no finite number'].append((annotation, 'area'))
    for kind, cases in found.items():
        listed = [f"{annotation['id']} ({key}={annotation.get(key)!r})" for annotation, key in cases]
        yield f'annotations {kind}: ids {examples(listed)}'


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_box(box: Any) -> bool:
    return isinstance(box, (list, tuple)) and len(box) == 4 and all(map(_is_finite, box))


def _repeated(what: str, values: Iterable) -> Iterator[str]:
    seen: set = set()
    repeated = [value for value in values if value in seen or seen.add(value)]
    if repeated:
        yield f'{what} that are not unique: {examples(repeated)}'


def is_degenerate(annotation: dict, image: dict) -> bool:
    """Whether the host drops the annotation: no area, a side below 1 pixel, or a box outside of the image.

    Args:
        annotation (dict): With ``bbox`` (x, y, width, height) and ``area``, in pixels.
        image (dict): With ``width`` and ``height``.
    """
    x, y, width, height = annotation['bbox']
    inside = min(x + width, image['width']) > max(x, 0) and min(y + height, image['height']) > max(y, 0)
    return not inside or annotation['area'] <= 0 or width < 1 or height < 1
