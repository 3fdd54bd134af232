"""COCO format → LVIS format, so that a data set of one's own is trained, sampled and evaluated as LVIS is."""
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_utils

from .frequency_groups import COMMON, GROUPS, RARE, check_frequency_thresholds, frequency_of
from .lvis_format import FEDERATED, examples, find_problems, image_file, is_degenerate, read_lvis


def coco_to_lvis(train: str | PathLike,
                 out: str | PathLike,
                 val: str | PathLike | None = None,
                 rare: int = RARE,
                 common: int = COMMON,
                 negatives: str | int = 'all',
                 boxes_only: bool = False,
                 seed: int = 0) -> str:
    """Write ``train.json`` and ``val.json`` in LVIS format.

    Both files get the categories of ``train`` with ``image_count``, ``instance_count`` and ``frequency`` ('r', 'c' or
    'f' by image count), all taken from ``train``. COCO is annotated exhaustively, so that a category without an
    annotation in an image is verified to be absent there (``neg_category_ids``). LVIS format knows no crowds: a crowd
    annotation is left out, counts for nothing, and its category is not exhaustive in its image
    (``not_exhaustive_category_ids``), where detections of it beyond the other annotations count neither way.
    Images keep ``file_name`` and lose ``coco_url``, which would go before it. A missing ``area`` is computed.

    Args:
        train (str | PathLike): Annotations of the training images, COCO format.
        out (str | PathLike): Folder to write.
        val (str | PathLike, optional): Annotations of the validation images, with the same categories.
        rare (int): A category with at most so many training images is rare. Defaults to 10.
        common (int): One with more than ``rare`` and at most so many is common. Defaults to 100.
        negatives (str | int): Which absent categories of an image are listed as negative: ``'all'``, ``'none'``, or so
            many drawn at random; detections of the others count neither way. Defaults to ``'all'``.
        boxes_only (bool): Whether to leave out masks. Defaults to False.
        seed (int): Seed of the draw. Defaults to 0.

    Returns:
        str: What was written and left out, a few lines.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is no COCO-format file, is in LVIS format already, has annotations without masks, or would
            be written over; if ``val`` has other categories; if an argument is out of range.
    """
    check_frequency_thresholds(rare, common)
    if negatives not in ('all', 'none') and (not isinstance(negatives, int) or negatives < 0):
        raise ValueError(f"negatives={negatives!r} must be 'all', 'none' or a number of categories per image.")
    sources = {name: Path(path) for name, path in (('train', train), ('val', val)) if path is not None}
    targets = {name: Path(out) / f'{name}.json' for name in sources}
    for target in targets.values():
        if target.resolve() in {source.resolve() for source in sources.values()}:
            raise ValueError(f'out={str(out)!r}: {target} is itself to be converted. Name another folder.')
    contents = {name: _read(path, name, boxes_only) for name, path in sources.items()}
    categories = _categories(contents['train'], rare, common)
    if val is not None:
        _check_same(contents['val']['categories'], categories, sources['val'])
    lines = []
    Path(out).mkdir(parents=True, exist_ok=True)
    for stream, (name, content) in enumerate(contents.items()):
        crowds = [annotation for annotation in content['annotations'] if annotation.get('iscrowd')]
        left_out = ('iscrowd', 'segmentation') if boxes_only else ('iscrowd', )
        result = _convert(content, categories, negatives, left_out, np.random.default_rng([seed, stream]))
        targets[name].write_text(json.dumps(result))
        lines.append(f"{name}: {len(result['images']):,} images and {len(result['annotations']):,} annotations → "
                     f'{targets[name]}')
        if _starts_at_0(content):
            lines.append('  annotation ids raised by 1: the official evaluation takes a match with id 0 for none')
        lines += _remarks(result, crowds)
    return '\n'.join(lines + _summary(categories, rare, common))


def _read(path: Path, field: str, boxes_only: bool) -> dict[str, Any]:
    content = read_lvis(path, field)
    name = f'{field}={str(path)!r}'
    if any(key in image for image in content['images'] for key in FEDERATED):
        raise ValueError(f'{name}: its images have {" or ".join(FEDERATED)}, so it is in LVIS format already.')
    annotations = content.get('annotations') or []
    without = [annotation.get('id') for annotation in annotations if not annotation.get('segmentation')]
    if without and not boxes_only:
        raise ValueError(f'{name}: annotations without `segmentation`: ids {examples(without)}. Complete or remove '
                         'them, or leave out all masks (--boxes-only).')
    sizes = {image.get('id'): (image.get('height'), image.get('width')) for image in content['images']}
    for annotation in annotations:
        if annotation.get('area') is None:
            annotation['area'] = _area(annotation, sizes.get(annotation.get('image_id')), name)
    problem = next(find_problems(content), None)
    if problem is not None:
        raise ValueError(f'{name}: {problem}.')
    return content


def _area(annotation: dict, size: tuple[int, int] | None, name: str) -> float:
    """Area in pixels, of the mask or else of the box."""
    segmentation = annotation.get('segmentation')
    try:
        if not segmentation:
            return annotation['bbox'][2] * annotation['bbox'][3]
        if isinstance(segmentation, list) or isinstance(segmentation['counts'], list):
            segmentation = mask_utils.frPyObjects(segmentation, *size)
        return float(np.sum(mask_utils.area(mask_utils.merge(segmentation) if isinstance(segmentation, list)
                                            else segmentation)))
    except Exception as error:  # pycocotools raises nearly anything
        raise ValueError(f'{name}: annotation {annotation.get("id")} has no `area`, and it can\'t be computed '
                         f'({type(error).__name__}: {error}).') from None


def _categories(train: dict[str, Any], rare: int, common: int) -> list[dict]:
    kept = [annotation for annotation in train['annotations'] if not annotation.get('iscrowd')]
    instances = Counter(annotation['category_id'] for annotation in kept)
    images = Counter(category for _, category in {(a['image_id'], a['category_id']) for a in kept})
    groups = frequency_of([images[category['id']] for category in train['categories']], rare, common)
    return [
        dict(category, frequency=group, image_count=images[category['id']], instance_count=instances[category['id']])
        for category, group in zip(train['categories'], groups, strict=True)
    ]


def _check_same(categories: Sequence[dict], expected: Sequence[dict], path: Path) -> None:
    found, wanted = ({(c['id'], c['name']) for c in part} for part in (categories, expected))
    if found != wanted:
        raise ValueError(f'val={str(path)!r}: its categories differ from those of `train`; only in `val`: '
                         f'{examples(sorted(found - wanted), 3)}; only in `train`: '
                         f'{examples(sorted(wanted - found), 3)}.')


def _convert(content: dict[str, Any], categories: Sequence[dict], negatives: str | int, left_out: Sequence[str],
             rng: np.random.Generator) -> dict[str, Any]:
    present, crowded = defaultdict(set), defaultdict(set)
    annotations = []
    shift = _starts_at_0(content)
    for annotation in content['annotations']:
        present[annotation['image_id']].add(annotation['category_id'])
        if annotation.get('iscrowd'):
            crowded[annotation['image_id']].add(annotation['category_id'])
        else:
            kept = {key: value for key, value in annotation.items() if key not in left_out}
            annotations.append(dict(kept, id=kept['id'] + 1) if shift else kept)
    images = []
    for image in content['images']:
        absent = [category['id'] for category in categories if category['id'] not in present[image['id']]]
        if negatives != 'all':
            count = 0 if negatives == 'none' else min(negatives, len(absent))
            absent = [absent[i] for i in np.sort(rng.choice(len(absent), count, replace=False))]
        record = dict(image, file_name=image.get('file_name') or image_file(image), neg_category_ids=absent,
                      not_exhaustive_category_ids=sorted(crowded[image['id']]))
        record.pop('coco_url', None)
        images.append(record)
    return dict(info=content.get('info', {}), licenses=content.get('licenses', []), images=images,
                annotations=annotations, categories=list(categories))


def _starts_at_0(content: dict[str, Any]) -> bool:
    return any(annotation['id'] == 0 for annotation in content['annotations'])


def _remarks(result: dict[str, Any], crowds: Sequence[dict]) -> list[str]:
    lines = []
    if crowds:
        pairs = {(crowd['image_id'], crowd['category_id']) for crowd in crowds}
        lines.append(f'  crowd annotations left out: {len(crowds):,}; (image, category) pairs not exhaustive: '
                     f'{len(pairs):,}')
    sizes = {image['id']: image for image in result['images']}
    degenerate = [a['id'] for a in result['annotations'] if is_degenerate(a, sizes[a['image_id']])]
    if degenerate:
        lines.append(f'  {len(degenerate):,} boxes without area, with a side below 1 pixel or outside of their image, '
                     f'which training leaves out: annotation ids {examples(degenerate)}')
    return lines


def _summary(categories: Sequence[dict], rare: int, common: int) -> list[str]:
    groups = Counter(category['frequency'] for category in categories)
    ranges = dict(r=f'at most {rare}', c=f'{rare + 1} to {common}', f=f'more than {common}')
    lines = [f'{len(categories):,} categories: ' +
             ', '.join(f'{groups[group]:,} {GROUPS[group]} ({ranges[group]} training images)' for group in GROUPS)]
    empty = [category['name'] for category in categories if category['image_count'] == 0]
    if empty:
        lines.append(f'  without any training image: {examples(empty)}')
    return lines
