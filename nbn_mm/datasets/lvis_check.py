"""Check of a prepared LVIS-format data set: what is missing, how many images, what is broken."""
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from PIL import Image

from .frequency_groups import GROUPS
from .lvis_format import FEDERATED, examples, find_problems, image_file, is_degenerate, missing_files, read_lvis

ORIENTATION = 274  # of EXIF; 5 to 8 exchange height and width
TURNED = ('JPEG', 'PNG')  # formats that OpenCV turns upright and Pillow does not
PAGE = 'https://www.lvisdataset.org/dataset'
LVIS_V1 = dict(train=100_170, val=19_809)  # images
LVIS_V1_CATEGORIES = 1_203


@dataclass
class Report:
    """What a check found.

    Args:
        facts (list[str]): What is there.
        problems (list[str]): What is wrong.
    """
    facts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """str: One line a fact or problem."""
        return '\n'.join([*self.facts, *(f'PROBLEM: {problem}' for problem in self.problems)])

    def __add__(self, other: 'Report') -> 'Report':
        return Report(self.facts + other.facts, self.problems + other.problems)


def check_lvis_v1(data_root: str | PathLike, images: bool = False, workers: int | None = None) -> Report:
    """Check LVIS v1 as the configs expect it.

    Args:
        data_root (str | PathLike): Folder with ``annotations/lvis_v1_{train,val}.json``, ``train2017/`` and
            ``val2017/``.
        images (bool): Whether to open each image. Defaults to False.
        workers (int, optional): Processes that open images, 0 for none. Defaults to the number of CPUs.

    Returns:
        Report: Facts and problems.
    """
    root = Path(data_root)
    report = Report()
    for folder in ('train2017', 'val2017'):
        if not (root / folder).is_dir():
            report.problems.append(f'{root / folder}/ is missing: unpack {folder}.zip of COCO there '
                                   f'(linked from {PAGE})')
    for split, expected in LVIS_V1.items():
        path = root / 'annotations' / f'lvis_v1_{split}.json'
        if not path.is_file():
            report.problems.append(f'{path} is missing: unpack {path.name}.zip of {PAGE} there')
            continue
        part, counts = _check_file(path, str(root), images, workers)
        for what, count, right in (('images', counts.get('images'), expected),
                                   ('categories', counts.get('categories'), LVIS_V1_CATEGORIES)):
            if count not in (None, right):
                part.problems.append(f'{path} has {count:,} {what}; LVIS v1 {split} has {right:,}')
        report += part
    return report


def check_file(ann_file: str | PathLike, img_prefix: str | PathLike = '', images: bool = False,
               workers: int | None = None) -> Report:
    """Check a file of LVIS format and its images.

    Args:
        ann_file (str | PathLike): The annotations.
        img_prefix (str | PathLike): Folder to which the image paths are relative.
        images (bool): Whether to open each image. Defaults to False.
        workers (int, optional): Processes that open images, 0 for none. Defaults to the number of CPUs.

    Returns:
        Report: Facts and problems.
    """
    return _check_file(Path(ann_file), os.fspath(img_prefix), images, workers)[0]


def _check_file(path: Path, prefix: str, images: bool, workers: int | None) -> tuple[Report, dict[str, int]]:
    try:
        content = read_lvis(path, 'annotations')
    except (ValueError, OSError) as error:
        return Report(problems=[str(error)]), {}
    counts = {key: len(content.get(key) or ()) for key in ('images', 'annotations', 'categories')}
    groups = Counter(category.get('frequency') for category in content['categories'])
    used = len({annotation.get('image_id') for annotation in content.get('annotations') or ()})
    report = Report([f"{path}: {counts['images']:,} images ({used:,} with annotations), {counts['annotations']:,} "
                     f"annotations, {counts['categories']:,} categories"])
    if None not in groups:
        report.facts.append('  ' + ', '.join(f'{groups[group]:,} {GROUPS[group]}' for group in GROUPS))
    problems = list(find_problems(content))
    if not problems:  # what follows relies on ids and boxes
        problems += [*_lvis_problems(content), *_mask_problems(content)]
        report.facts += _degenerate(content)
        problems += _file_problems(content['images'], prefix, images, workers)
    report.problems += [f'{path}: {problem}' for problem in problems]
    return report, counts


def _lvis_problems(content: dict[str, Any]) -> Iterator[str]:
    """What COCO files lack, or have and LVIS files have not."""
    categories = content['categories']
    if not any('frequency' in category for category in categories):
        yield ('categories have no `frequency`, so that there are no APr, APc and APf; '
               'tools/dataset_converters/coco_to_lvis.py adds it')
    crowds = [annotation['id'] for annotation in content['annotations'] if annotation.get('iscrowd')]
    if crowds:
        yield f'crowd annotations, which LVIS format does not know: ids {examples(crowds)}'
    if any(annotation['id'] == 0 for annotation in content['annotations']):
        yield ('annotation id 0, whose match the official evaluation counts as none; number them from 1 '
               '(tools/dataset_converters/coco_to_lvis.py does)')
    present = defaultdict(set)
    for annotation in content['annotations']:
        present[annotation['image_id']].add(annotation['category_id'])
    known = {category['id'] for category in categories}
    for key in FEDERATED:
        lacking = [image['id'] for image in content['images'] if not isinstance(image.get(key), list)]
        if lacking:
            yield f'images without the list `{key}`, which the evaluation needs: ids {examples(lacking)}'
        unknown = [image['id'] for image in content['images'] if not known.issuperset(image.get(key) or ())]
        if unknown:
            yield f'images whose `{key}` has an id that `categories` lacks: ids {examples(unknown)}'
    both = [image['id'] for image in content['images']
            if present[image['id']].intersection(image.get(FEDERATED[0]) or ())]
    if both:
        yield f'images whose `{FEDERATED[0]}` has a category that is annotated in them: ids {examples(both)}'


def _mask_problems(content: dict[str, Any]) -> Iterator[str]:
    annotations = content['annotations']
    without = [annotation['id'] for annotation in annotations if not annotation.get('segmentation')]
    if without and len(without) < len(annotations):
        yield f'annotations without `segmentation`: ids {examples(without)}'
    sizes = {image['id']: [image['height'], image['width']] for image in content['images']}
    broken = [annotation['id'] for annotation in annotations if annotation.get('segmentation')
              and not _is_mask(annotation['segmentation'], sizes[annotation['image_id']])]
    if broken:
        yield ('annotations whose `segmentation` is neither polygons of at least 3 points (x, y) nor a run-length code '
               f'of the image\'s size: ids {examples(broken)}')


def _is_mask(segmentation: Any, size: Sequence[int]) -> bool:
    if isinstance(segmentation, dict):
        return list(segmentation.get('size') or ()) == size and bool(segmentation.get('counts'))
    return isinstance(segmentation, list) and all(
        isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 and
        all(isinstance(value, (int, float)) and math.isfinite(value) for value in polygon) for polygon in segmentation)


def _degenerate(content: dict[str, Any]) -> list[str]:
    images = {image['id']: image for image in content['images']}
    ids = [annotation['id'] for annotation in content['annotations']
           if is_degenerate(annotation, images[annotation['image_id']])]
    return [f'  {len(ids):,} boxes without area, with a side below 1 pixel or outside of their image, which training '
            f'leaves out: annotation ids {examples(ids)}'] if ids else []


def _file_problems(images: Sequence[dict], prefix: str, open_them: bool, workers: int | None) -> Iterator[str]:
    paths = [os.path.join(prefix, image_file(image)) for image in images]
    missing = missing_files(paths)
    if missing:
        yield f'{len(missing):,} of {len(paths):,} images are missing: {examples(missing, 3)}'
    if open_them:
        absent = set(missing)
        tasks = [(path, image['width'], image['height']) for path, image in zip(paths, images, strict=True)
                 if path not in absent]
        yield from filter(None, _map(_image_fault, tasks, workers))


def _map(function: Any, tasks: Sequence, workers: int | None) -> Iterator:
    if workers == 0:
        yield from map(function, tasks)
    else:
        with ProcessPoolExecutor(workers) as pool:
            yield from pool.map(function, tasks, chunksize=64)


def _image_fault(task: tuple[str, int, int]) -> str | None:
    path, width, height = task
    try:
        with Image.open(path) as image:
            image.load()
            turned = image.format in TURNED and image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
            size = image.size[::-1] if turned else image.size
            if size != (width, height):
                upright = ' when turned upright, as it is read (EXIF)' if turned else ''
                return f'{path} is {size[0]} x {size[1]}{upright}, but annotated as {width} x {height}'
    except Exception as error:  # Pillow raises many kinds for damaged files
        return f'{path} can\'t be read ({type(error).__name__}: {error})'
    return None
