"""Annotation files of iNaturalist."""
import json
from pathlib import Path
from typing import Any

import numpy as np

from .image_list import ImageList


def read_inaturalist(path: str, categories: str | Path | None = None) -> ImageList:
    """Read an annotation file of iNaturalist: ``images``, ``annotations`` of one category each, ``categories``.

    Labels are the positions of the categories ordered by id, of which 2018's are 0 … 8,141 already.

    Args:
        path (str): The JSON file.
        categories (str | Path, optional): The file with the names, which 2018 keeps apart.

    Returns:
        ImageList: With the names of the categories.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no JSON, a part or a field is missing, or an image has no annotation or several.
    """
    data = _load(path)
    absent = [key for key in ('images', 'annotations', 'categories') if not isinstance(data, dict) or not data.get(key)]
    if absent:
        raise ValueError(f'{path} has no `{absent[0]}`; an annotation file of iNaturalist (train2018.json, '
                         'val2018.json) is expected.')
    try:
        return _image_list(data, path, categories)
    except KeyError as error:
        raise ValueError(f'{path}: an entry lacks the field {error}.') from None


def _load(path: str | Path) -> Any:
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no annotation file {str(path)!r}.')
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f'{path} is no JSON file, or not all of one ({error}).') from None


def _image_list(data: dict[str, Any], path: str, categories: str | Path | None) -> ImageList:
    order = {category['id']: label for label, category in enumerate(sorted(data['categories'], key=lambda c: c['id']))}
    labels: dict[int, int] = {}
    for annotation in data['annotations']:
        image, category = annotation['image_id'], annotation['category_id']
        if category not in order:
            raise ValueError(f'{path}: the annotation of image {image} has category_id={category}, which is none of '
                             f'its {len(order)} categories.')
        if labels.setdefault(image, order[category]) != order[category]:
            raise ValueError(f'{path}: image {image} has several categories; one an image is expected.')
    bare = [image['file_name'] for image in data['images'] if image['id'] not in labels]
    if bare:
        raise ValueError(f'{path}: {len(bare)} images have no annotation: {", ".join(bare[:5])}.')
    named = {category['id']: str(category.get('name', category['id'])) for category in data['categories']}
    if categories is not None and Path(categories).is_file():
        named.update({category['id']: str(category['name']) for category in _load(categories)
                      if category['id'] in order})
    return ImageList(tuple(image['file_name'] for image in data['images']),
                     np.array([labels[image['id']] for image in data['images']], dtype=np.int64), str(path),
                     tuple(named[key] for key in sorted(order)))
