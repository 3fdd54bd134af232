"""Detection data in LVIS format, with the class names of its own annotation file."""
import logging
from array import array
from typing import Any

import numpy as np
from mmdet.datasets import LVISV1Dataset
from mmdet.registry import DATASETS
from mmengine.dataset import force_full_init
from mmengine.fileio import LocalBackend, exists, get_file_backend, get_local_path
from mmengine.logging import print_log

from ..utils.many_objects import give_back_memory
from .lvis_format import (
    examples,
    find_problems,
    image_file,
    is_degenerate,
    missing_files,
    read_categories,
    read_lvis,
    sort_categories,
)
from .packed_polygons import pack_polygons, pack_while_reading, unpack_polygons

PREPARE = 'docs/lvis_data.md says where the files go, and tools/dataset_converters/check_lvis.py checks them.'


@DATASETS.register_module()
class LVISFormatDataset(LVISV1Dataset):
    """LVIS v1, or any data set of its format; wrong data is one clear error before training.

    Classes are those of the annotation file by ascending category id, so that label i is the i-th of them. Images are
    found by ``coco_url`` as in LVIS v1, or by ``file_name`` below ``data_prefix['img']``. On an LVIS v1 file the data
    are those of the host's class. Boxes that the host drops (no area, a side below 1 pixel, outside of the image) are
    counted in the log.

    ``metainfo`` holds ``classes``, ``palette``, ``frequencies`` ('r', 'c' or 'f' per class) and ``image_counts``
    (training images per class, as the file says); the last two are None if the file has none. A ``lazy_init`` data set
    reads the names on demand, without parsing the annotations; if its file is absent, as at inference on another
    machine, it has no ``classes``.

    Args:
        check_images (bool): Whether to check that all images exist, by listing their folders once. Only for local
            files. Defaults to True.
        **kwargs: Other arguments of mmdet's ``LVISV1Dataset``. ``metainfo.classes``, if given, must be the names of
            the file in the same order.

    Raises:
        FileNotFoundError: If the annotation file or images are missing.
        ValueError: If the file is of another format, ids are unknown or repeated, no image is left, or
            ``metainfo.classes`` differs from the file.
    """
    METAINFO = dict(palette=None)

    def __init__(self, *args: Any, check_images: bool = True, **kwargs: Any) -> None:
        self.check_images = check_images
        self._labels: np.ndarray | None = None
        self._label_stops: np.ndarray | None = None
        super().__init__(*args, **kwargs)

    @property
    def metainfo(self) -> dict:
        """dict: Class names and what else is known of the data set, a copy."""
        if 'frequencies' not in self._metainfo and self.ann_file and exists(self.ann_file, self.backend_args):
            with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
                self._set_categories(read_categories(path))
        return super().metainfo

    def full_init(self) -> None:
        """Read and check the data, once."""
        if not self._fully_initialized:
            super().full_init()
            give_back_memory()
            if self._indices is not None:
                self._labels = None

    def load_data_list(self) -> list[dict]:
        """Read and check the annotation file.

        Returns:
            list[dict]: As the host's class gives it; with ``serialize_data`` the polygons are packed until an image is
            asked for, see :mod:`.packed_polygons`.
        """
        if not exists(self.ann_file, self.backend_args):
            raise FileNotFoundError(f'{self._name}: there is no such file. Check `ann_file` and `data_root` of the '
                                    f'data set; {PREPARE}')
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            content = read_lvis(path, object_hook=pack_while_reading if self.serialize_data else None)
        problem = next(find_problems(content, needs_annotations=not self.test_mode), None)
        if problem is not None:
            raise ValueError(f'{self._name}: {problem}. Correct the file, or name another one in `ann_file` of the '
                             'data set.')
        if any(getattr(transform, 'with_mask', False) for transform in self.pipeline.transforms):
            without = [each['id'] for each in content.get('annotations') or () if not each.get('segmentation')]
            if without:
                raise ValueError(f'{self._name}: annotations without `segmentation`: ids {examples(without)}, and '
                                 'LoadAnnotations(with_mask=True) of the pipeline reads masks. Complete the file, or '
                                 'train boxes alone.')
        categories = sort_categories(content['categories'])
        self._set_categories(categories)
        self.cat2label = {category['id']: label for label, category in enumerate(categories)}
        cat_img_map: dict[int, list] = {category: [] for category in self.cat2label}
        annotations: dict[Any, list[dict]] = {image['id']: [] for image in content['images']}
        for annotation in content.get('annotations') or ():
            annotations[annotation['image_id']].append(annotation)
            cat_img_map[annotation['category_id']].append(annotation['image_id'])
        # Numbers that stay, each an object amid those that are freed, would keep nearly all memory of the file.
        self.cat_img_map = {category: _compact(ids) for category, ids in cat_img_map.items()}
        self._log_degenerate(content['images'], annotations)
        self.cat_ids = self.cat2label  # the host asks for each box whether its category is in cat_ids
        data_list = [
            self.parse_data_info(
                dict(raw_img_info=dict(image, img_id=image['id'], file_name=image_file(image)),
                     raw_ann_info=annotations[image['id']])) for image in content['images']
        ]
        self.cat_ids = list(self.cat2label)
        return data_list

    def filter_data(self) -> list[dict]:
        """Filter as the host does, and check what is left.

        Returns:
            list[dict]: The images in use.
        """
        data_list = super().filter_data()
        if not data_list:
            raise ValueError(f'{self._name}: none of its {len(self.data_list)} images is left by '
                             f'filter_cfg={self.filter_cfg}. Change `filter_cfg` of the data set, or its `ann_file`.')
        if self.check_images:
            self._check_images([data['img_path'] for data in data_list])
        labels = [[instance['bbox_label'] for instance in data['instances']] for data in data_list]
        self._labels = np.array([label for image in labels for label in image], dtype=np.int32)
        self._label_stops = np.cumsum([len(image) for image in labels])
        return data_list

    def _serialize_data(self) -> tuple[np.ndarray, np.ndarray]:
        for data_info in self.data_list:
            pack_polygons(data_info)
        return super()._serialize_data()

    def get_data_info(self, idx: int) -> dict:
        """What the file says of an image.

        Args:
            idx (int): Index of the image.

        Returns:
            dict: As the host's class gives it.
        """
        data_info = super().get_data_info(idx)
        unpack_polygons(data_info)
        return data_info

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """Labels of the boxes of an image, without unpacking its annotations.

        Args:
            idx (int): Index of the image.

        Returns:
            list[int]: The labels.
        """
        if self._labels is None:  # of a part of the data set
            return super().get_cat_ids(idx)
        idx = range(len(self))[idx]
        return self._labels[self._label_stops[idx - 1] if idx else 0:self._label_stops[idx]].tolist()

    def get_subset_(self, indices: Any) -> None:
        """Keep a part of the images, see mmengine's ``BaseDataset``."""
        super().get_subset_(indices)
        self._labels = None

    def get_subset(self, indices: Any) -> 'LVISFormatDataset':
        """A data set of a part of the images, see mmengine's ``BaseDataset``."""
        subset = super().get_subset(indices)
        subset._labels = None
        return subset

    @property
    def _name(self) -> str:
        return f'{type(self).__name__} (ann_file={self.ann_file!r})'

    def _set_categories(self, categories: list[dict]) -> None:
        names = tuple(category['name'] for category in categories)
        given = self._metainfo.get('classes')
        if given is not None and tuple(given) != names:
            if isinstance(given, str):
                raise ValueError(f'{self._name}: metainfo.classes={given!r} must be a list of names.')
            where = next((i for i, pair in enumerate(zip(given, names, strict=False)) if pair[0] != pair[1]),
                         min(len(given), len(names)))
            raise ValueError(
                f'{self._name}: metainfo.classes has {len(given)} names and the file {len(names)}; from label {where} '
                f'on they are {list(given[where:where + 3])} … and {list(names[where:where + 3])} …. Remove `classes` '
                'from `metainfo` of the data set, which takes the names of the file, or correct it.')
        self._metainfo['classes'] = names
        for key, field in (('frequencies', 'frequency'), ('image_counts', 'image_count')):
            complete = all(field in category for category in categories)
            self._metainfo[key] = tuple(category[field] for category in categories) if complete else None

    def _log_degenerate(self, images: list[dict], annotations: dict[Any, list[dict]]) -> None:
        dropped = [
            annotation['id'] for image in images for annotation in annotations[image['id']]
            if is_degenerate(annotation, image)
        ]
        if dropped:
            print_log(
                f'{self._name}: {len(dropped)} boxes without area, with a side below 1 pixel or outside of their image '
                f'are left out: annotation ids {examples(dropped)}.',
                logger='current',
                level=logging.WARNING)

    def _check_images(self, paths: list[str]) -> None:
        if not isinstance(get_file_backend(paths[0], backend_args=self.backend_args), LocalBackend):
            return
        missing = missing_files(paths)
        if missing:
            raise FileNotFoundError(
                f'{self._name}: {len(missing):,} of {len(paths):,} images are missing: {examples(missing, 3)}. Check '
                f'`data_root` and `data_prefix` of the data set (img={self.data_prefix.get("img")!r}); {PREPARE}')


def _compact(ids: list) -> 'list | array':
    try:
        return array('q', ids)
    except (TypeError, OverflowError):  # other ids than integers
        return ids
