"""The ground truth of an LVIS-format file in compact arrays, indexed once by image and category."""
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...datasets.frequency_groups import GROUPS
from ...datasets.lvis_format import examples
from ...utils.many_objects import give_back_memory, without_cycle_search
from .lvis_protocol import ALL_BITS, area_bits
from .lvis_segmentation import PackedSegmentation, PackedSegmentations, Rle, pack_segmentation


class _Annotation(NamedTuple):
    """One annotation in little memory."""

    image_id: Any
    category_id: Any
    id: int
    area: float
    ignore: bool
    bbox: array | None
    segmentation: PackedSegmentation


def _pack_annotation(annotation: Mapping[str, Any], with_masks: bool) -> _Annotation:
    missing = [key for key in ('image_id', 'category_id', 'id', 'area') if key not in annotation]
    if missing:
        raise ValueError(f'an annotation has no {missing}: {dict(annotation)!s:.200}. The LVIS evaluation needs them.')
    bbox = annotation.get('bbox')
    return _Annotation(annotation['image_id'], annotation['category_id'], annotation['id'], annotation['area'],
                       bool(annotation.get('ignore', 0)), None if bbox is None else array('d', bbox),
                       pack_segmentation(annotation.get('segmentation')) if with_masks else None)


class LVISGroundTruth:
    """The annotations of an LVIS-format file: per image, sorted by category; within a category in the file's order.

    Annotations whose area is not in (0, inf) are left out, as the official package does.

    Args:
        annotations (str | PathLike | Mapping): The annotation file, or its content.
        img_ids (Iterable, optional): Evaluate these images only. Defaults to None, all images of the file.
        with_masks (bool): Keep the segmentations; without them, only boxes can be evaluated. Defaults to True.

    Attributes:
        cat_ids (np.ndarray): Category ids in ascending order, shape ``(K, )``; all other arrays use the index into it.
        cat_names (list[str]): Names of the categories, length K.
        frequencies (list[str] | None): ``'r'``, ``'c'`` or ``'f'`` of each category; None if the file has none.
        image_counts (np.ndarray | None): Training images of each category as the file says, shape ``(K, )``, or None.
        instance_counts (np.ndarray | None): Training instances likewise.
        img_ids (list): Image ids in ascending order, length I.
        areas (np.ndarray): Areas of the M annotations, float64 of shape ``(M, )``.
        boxes (np.ndarray): Boxes as x, y, w, h, float64 of shape ``(M, 4)``; nan where the file has none.
        labels (np.ndarray): Category indices, int32 of shape ``(M, )``.
        counting (np.ndarray): The area ranges (and thresholds) in which an annotation counts, as sets of
            :mod:`.lvis_protocol`: none if it has ``ignore``; uint64 of shape ``(M, )``.
        countable (np.ndarray): False for the annotation of id 0, whose match counts as none, bool of shape ``(M, )``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no JSON, lacks a part of the LVIS format, repeats an id, or an annotation names an
            unknown image or category; if ``img_ids`` holds an unknown image.
    """

    def __init__(self, annotations: str | PathLike | Mapping[str, Any], img_ids: Iterable | None = None,
                 with_masks: bool = True) -> None:
        self.source = 'the annotations' if isinstance(annotations, Mapping) else repr(fspath(annotations))
        content = annotations if isinstance(annotations, Mapping) else _read(Path(annotations), self.source, with_masks)
        for key in ('images', 'categories', 'annotations'):
            if not isinstance(content, Mapping) or not isinstance(content.get(key), list):
                raise ValueError(f'{self.source} is not in LVIS format: it has no list {key!r}.')
        self._with_masks = with_masks
        self._read_categories(content['categories'])
        self._read_images(content['images'], img_ids)
        self._read_annotations(content['annotations'], {image['id'] for image in content['images']})
        del content
        give_back_memory()

    def _unique(self, ids: Sequence, what: str) -> None:
        if len(set(ids)) != len(ids):
            seen = set()
            twice = next(i for i in ids if i in seen or seen.add(i))
            raise ValueError(f'{self.source}: {what} id {twice!r} stands there twice.')

    def _read_categories(self, categories: Sequence[Mapping[str, Any]]) -> None:
        if not categories:
            raise ValueError(f'{self.source} has no categories.')
        self._unique([category['id'] for category in categories], 'category')
        categories = sorted(categories, key=lambda category: category['id'])
        self.cat_ids = np.array([category['id'] for category in categories])
        self.cat_names = [str(category.get('name', category['id'])) for category in categories]
        self._label_of = {category['id']: label for label, category in enumerate(categories)}
        self.frequencies = self._category_values(categories, 'frequency')
        for name, frequency in zip(self.cat_names, self.frequencies or (), strict=False):
            if frequency not in GROUPS:
                raise ValueError(f"{self.source}: category {name!r} has frequency {frequency!r}; it must be 'r', "
                                 "'c' or 'f'.")
        counts = [self._category_values(categories, key) for key in ('image_count', 'instance_count')]
        self.image_counts, self.instance_counts = (None if c is None else np.array(c, dtype=np.int64) for c in counts)

    def _category_values(self, categories: Sequence[Mapping[str, Any]], key: str) -> list | None:
        without = [category['id'] for category in categories if key not in category]
        if not without:
            return [category[key] for category in categories]
        if len(without) < len(categories):
            raise ValueError(f'{self.source}: category {without[0]!r} has no {key!r}, though others have it.')
        return None

    def _read_images(self, images: Sequence[Mapping[str, Any]], img_ids: Iterable | None) -> None:
        self._unique([image['id'] for image in images], 'image')
        by_id = {image['id']: image for image in images}
        self.img_ids = sorted(by_id if img_ids is None else set(img_ids))
        unknown = [img_id for img_id in self.img_ids if img_id not in by_id]
        if unknown:
            raise ValueError(f'img_ids holds image {unknown[0]!r}, which {self.source} does not have.')
        self._index_of = {img_id: index for index, img_id in enumerate(self.img_ids)}
        chosen = [by_id[img_id] for img_id in self.img_ids]
        self._sizes = np.array([(image.get('height') or 0, image.get('width') or 0) for image in chosen],
                               dtype=np.int32).reshape(-1, 2)
        self._negative = self._image_labels(chosen, 'neg_category_ids')
        self._not_exhaustive = self._image_labels(chosen, 'not_exhaustive_category_ids')

    def _image_labels(self, images: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
        """Category indices of an image's list, flat, and where each image starts. Unknown categories say nothing."""
        labels, starts = array('i'), array('q', [0])
        for image in images:
            if key not in image:
                raise ValueError(f'{self.source}: image {image["id"]!r} has no {key!r}, which the federated evaluation '
                                 'of LVIS needs. A file in COCO format must be converted to LVIS format first.')
            labels.extend(self._label_of[cat_id] for cat_id in image[key] if cat_id in self._label_of)
            starts.append(len(labels))
        return np.array(labels, dtype=np.int32), np.array(starts)

    def _read_annotations(self, annotations: Sequence, known_images: set) -> None:
        annotations = [a if isinstance(a, _Annotation) else _pack_annotation(a, self._with_masks) for a in annotations]
        self._unique([annotation.id for annotation in annotations], 'annotation')
        for annotation in annotations:
            if annotation.category_id not in self._label_of:
                raise ValueError(f'{self.source}: annotation {annotation.id!r} has category id '
                                 f'{annotation.category_id!r}, which is not among the categories.')
            if annotation.image_id not in known_images:
                raise ValueError(f'{self.source}: annotation {annotation.id!r} is of image '
                                 f'{annotation.image_id!r}, which is not among the images.')
        chosen = [a for a in annotations if 0 < a.area < float('inf') and a.image_id in self._index_of]
        chosen.sort(key=lambda a: (self._index_of[a.image_id], self._label_of[a.category_id]))
        without = [a.id for a in chosen if not a.segmentation] if self._with_masks else []
        if without:
            raise ValueError(f'{self.source}: annotations without `segmentation`: ids {examples(without)}; masks '
                             "cannot be evaluated. Complete the file, or evaluate boxes only (metric='bbox').")
        self.areas = np.array([a.area for a in chosen], dtype=np.float64)
        nothing = array('d', [float('nan')] * 4)
        self.boxes = np.array([nothing if a.bbox is None else a.bbox for a in chosen], dtype=np.float64).reshape(-1, 4)
        self.labels = np.array([self._label_of[a.category_id] for a in chosen], dtype=np.int32)
        self.counting = np.uint64(ALL_BITS) & ~area_bits(self.areas)
        self.counting[np.array([a.ignore for a in chosen], dtype=bool)] = 0
        self.countable = np.array([a.id != 0 for a in chosen], dtype=bool)
        self._segmentations = PackedSegmentations(a.segmentation for a in chosen) if self._with_masks else None
        self._starts = np.searchsorted([self._index_of[a.image_id] for a in chosen], np.arange(len(self.img_ids) + 1))

    def index(self, img_id: Any) -> int:
        """Position of an image in ``img_ids``.

        Raises:
            ValueError: If the image is unknown.
        """
        if img_id not in self._index_of:
            raise ValueError(f'image id {img_id!r} is not among the images that {self.source} has to evaluate. Check '
                             'that ann_file of the evaluator is that of the test data set.')
        return self._index_of[img_id]

    def image_size(self, img_id: Any) -> tuple[int, int]:
        """Height and width of an image.

        Raises:
            ValueError: If the image is unknown, or the file does not give its size.
        """
        height, width = self._sizes[self.index(img_id)].tolist()
        if not (height and width):
            raise ValueError(f"{self.source}: image {img_id!r} has no 'height' and 'width'.")
        return height, width

    def annotations_of(self, img_id: Any) -> slice:
        """Where the image's annotations are in ``areas``, ``boxes``, ``labels``, ``counting`` and ``countable``."""
        index = self.index(img_id)
        return slice(int(self._starts[index]), int(self._starts[index + 1]))

    def negative(self, img_id: Any) -> np.ndarray:
        """Indices of the categories that were verified to be absent from the image."""
        labels, starts = self._negative
        index = self.index(img_id)
        return labels[starts[index]:starts[index + 1]]

    def not_exhaustive(self, img_id: Any) -> np.ndarray:
        """Indices of the categories of which not all instances in the image are annotated."""
        labels, starts = self._not_exhaustive
        index = self.index(img_id)
        return labels[starts[index]:starts[index + 1]]

    def rles(self, img_id: Any, indices: Sequence[int]) -> list[Rle]:
        """Masks of some of the image's annotations.

        Args:
            img_id (Any): The image.
            indices (Sequence[int]): Positions within :meth:`annotations_of`.

        Returns:
            list[dict]: Compressed RLEs.

        Raises:
            ValueError: If the ground truth was read without masks, or an annotation has none.
        """
        if self._segmentations is None:
            raise ValueError('the ground truth was read with with_masks=False, masks cannot be evaluated.')
        start = int(self._starts[self.index(img_id)])
        return self._segmentations.rles([start + index for index in indices], self.image_size(img_id))


def _read(path: Path, source: str, with_masks: bool) -> Any:
    """The file's content, its annotations packed while it is read: lists of coordinates take five times the file."""
    if not path.is_file():
        raise FileNotFoundError(f'there is no annotation file {source}. Check ann_file of the evaluator, to which no '
                                'data_root is added.')

    def pack(entry: dict[str, Any]) -> Any:
        return _pack_annotation(entry, with_masks) if 'image_id' in entry and 'category_id' in entry else entry

    try:
        with path.open(encoding='utf-8-sig') as file, without_cycle_search():
            return json.load(file, object_hook=pack)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'annotation file {source} is no JSON: {error}. Is the download complete?') from None
