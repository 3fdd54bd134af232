"""Long-tailed sets of image files on mmpretrain's base class: lists, folders, ImageNet-LT, Places-LT, iNaturalist."""
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from .image_list import (
    ImageList,
    check_classes,
    check_files,
    class_folders,
    flat_validation,
    in_order_of,
    read_image_list,
    scan_image_folder,
)
from .inaturalist_json import read_inaturalist
from .known_sets import check_known
from .long_tail import check_subset, long_tail_counts, long_tail_indices, subset_hash


@DATASETS.register_module()
class ImageListLT(BaseDataset):
    """Images of a list file, or of a folder of one subfolder a class, made long-tailed on request.

    .. code-block:: python

        dataset=dict(type='ImageListLT', data_root='data/birds', ann_file='train.txt', imbalance_factor=50)

    Names of classes come from ``classes`` (or ``metainfo``), else from the folders of the images where each class has
    one of its own, else they are the class numbers. Labels of a folder follow the names given, if the subfolders bear
    them.

    Args:
        data_root (str): Folder of all files. Defaults to ''.
        ann_file (str): List file of ``path label`` lines, relative to ``data_root``; '': the subfolders of
            ``data_prefix`` are the classes. Defaults to ''.
        data_prefix (str): Folder of the images, relative to ``data_root``. Defaults to ''.
        classes (str | Sequence[str], optional): Class names, or a file of one a line, of which the text before a tab
            counts; relative to the working directory, as in the host.
        imbalance_factor (float, optional): Largest over smallest class size, at least 1; None: the set stays as it is.
        imbalance_type (str): ``'exp'`` or ``'step'``, see :func:`~nbn_mm.datasets.long_tail_counts`.
        subset (str | int): ``'canonical'``, ``'first'`` or a seed, see :func:`~nbn_mm.datasets.select_subset`.
        test_mode (bool): True for a set that is only evaluated, where classes may lack images. Defaults to False.
        check_exists (bool): Whether to look, folder by folder, if all images are there. Defaults to True.
        **kwargs: ``pipeline`` and other arguments of the host's ``BaseDataset``.

    Raises:
        FileNotFoundError: If the list, the folder, or images are absent: how many, and the first five.
        ValueError: If the list is unreadable (with line numbers), class ids have gaps or lie outside of ``classes``,
            subfolders are others than ``classes`` in name and number, or an option of the long tail is out of range.
    """

    def __init__(self,
                 data_root: str = '',
                 ann_file: str = '',
                 data_prefix: str | dict = '',
                 classes: str | Sequence[str] | None = None,
                 imbalance_factor: float | None = None,
                 imbalance_type: str = 'exp',
                 subset: str | int = 'canonical',
                 test_mode: bool = False,
                 check_exists: bool = True,
                 **kwargs: Any) -> None:
        if imbalance_factor is not None:
            # Values first: a wrong one must not wait until the files are read.
            long_tail_counts(2**31, 2, imbalance_factor, imbalance_type)
        check_subset(subset)
        self.imbalance_factor = imbalance_factor
        self.imbalance_type = imbalance_type
        self.subset = subset
        self.check_exists = check_exists
        self.subset_hash: str | None = None
        self._named = classes is not None or 'classes' in (kwargs.get('metainfo') or {})
        if isinstance(classes, str):
            classes = _read_classes(classes)
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=data_prefix, classes=classes,
                         test_mode=test_mode, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read, check and, with ``imbalance_factor``, thin out the images.

        Returns:
            list[dict]: ``img_path`` and ``gt_label``.
        """
        folder = self.img_prefix or '.'
        images = self.read_images(folder)
        if self._named:
            images = in_order_of(images, self.metainfo['classes'])
        known = self.metainfo['classes'] if self._named else images.classes
        num_classes = None if known is None else len(known)
        check_classes(images, num_classes, complete=not self.test_mode)
        if not self._named:
            names = images.classes or class_folders(images)
            self._metainfo['classes'] = names or tuple(str(i) for i in range(int(images.labels.max()) + 1))
        paths = np.array(self.locate(images, folder), dtype=object)
        labels = images.labels
        indices = np.arange(len(labels))
        if self.imbalance_factor is not None:
            indices = long_tail_indices(labels, self.metainfo['classes'], self.imbalance_factor, self.imbalance_type,
                                        self.subset, f'{type(self).__name__} ({images.source})')
        self.subset_hash = subset_hash(indices, labels)
        return [dict(img_path=os.path.join(self.img_prefix, paths[i]), gt_label=int(labels[i])) for i in indices]

    def read_images(self, folder: str) -> ImageList:
        """The whole list, before it is thinned out.

        Args:
            folder (str): Folder of the images.

        Returns:
            ImageList: Paths relative to it.
        """
        if self.ann_file:
            return read_image_list(self.ann_file)
        return scan_image_folder(folder, complete=not self.test_mode)

    def locate(self, images: ImageList, folder: str) -> Sequence[str]:
        """Where the images of the list lie; raises if some are absent.

        Args:
            images (ImageList): The list.
            folder (str): Folder of the images.

        Returns:
            Sequence[str]: Paths relative to it.
        """
        if self.check_exists and self.ann_file:
            check_files(images, folder)
        return images.paths


class _PublishedSplits(ImageListLT):
    """A set of published list files, one a split."""
    LISTS: dict[str, str] = {}
    KNOWN = ''

    def __init__(self, data_root: str, split: str = 'train', ann_file: str | None = None, **kwargs: Any) -> None:
        if split not in self.LISTS:
            raise ValueError(f'{type(self).__name__}: split={split!r} must be one of {tuple(self.LISTS)}.')
        self.split = split
        kwargs.setdefault('test_mode', split != 'train')
        super().__init__(data_root=data_root, ann_file=self.LISTS[split] if ann_file is None else ann_file, **kwargs)

    def read_images(self, folder: str) -> ImageList:
        """The list; a warning where it is not the published one."""
        images = super().read_images(folder)
        check_known(images, self.KNOWN, self.split)
        return images


@DATASETS.register_module()
class ImageNetLT(_PublishedSplits):
    """ImageNet-LT (Liu et al., CVPR 2019, arXiv:1904.05160) from its published lists and ImageNet's folders.

    115,846 training images of 1,000 classes (1,280 … 5 a class), 20,000 of validation, 50,000 of test. The protocol
    selects on ``'val'`` and reports on ``'test'``. Both lists of evaluation name images by class folder; validation
    images of ImageNet that lie side by side in ``val/`` are found there, too.

    Args:
        data_root (str): Holds ``train/``, ``val/`` and the lists ``ImageNet_LT_{train,val,test}.txt``.
        split (str): ``'train'``, ``'val'`` or ``'test'``. Defaults to ``'train'``.
        ann_file (str, optional): Another list, relative to ``data_root``.
        **kwargs: As :class:`ImageListLT`.
    """
    LISTS = {split: f'ImageNet_LT_{split}.txt' for split in ('train', 'val', 'test')}
    KNOWN = 'ImageNet-LT'

    def locate(self, images: ImageList, folder: str) -> Sequence[str]:
        """Where the images lie, with or without class folders in ``val/``."""
        return super().locate(flat_validation(images, folder), folder)


@DATASETS.register_module()
class PlacesLT(_PublishedSplits):
    """Places-LT (Liu et al., CVPR 2019, arXiv:1904.05160): 62,500 training images of 365 classes, 4,980 … 5 a class.

    Args:
        data_root (str): Folder of Places365's images and of the lists ``Places_LT_{train,val,test}.txt``.
        split (str): ``'train'``, ``'val'`` or ``'test'``. Defaults to ``'train'``.
        ann_file (str, optional): Another list, relative to ``data_root``.
        **kwargs: As :class:`ImageListLT`.
    """
    LISTS = {split: f'Places_LT_{split}.txt' for split in ('train', 'val', 'test')}
    KNOWN = 'Places-LT'


@DATASETS.register_module()
class INaturalist2018(_PublishedSplits):
    """iNaturalist 2018 from its JSON files: 437,513 training images of 8,142 species, 24,426 of validation.

    Validation is the test; the published protocol reports the last epoch. Class names are those of the categories file
    if it is there, else the ``name`` or the number of each category.

    Args:
        data_root (str): Holds ``train_val2018/``, ``train2018.json``, ``val2018.json`` and perhaps ``categories.json``.
        split (str): ``'train'`` or ``'val'``. Defaults to ``'train'``.
        ann_file (str, optional): Another JSON file, relative to ``data_root``.
        **kwargs: As :class:`ImageListLT`.
    """
    LISTS = dict(train='train2018.json', val='val2018.json')
    KNOWN = 'iNaturalist 2018'

    def read_images(self, folder: str) -> ImageList:
        """The images of the JSON file, in its order; linear in their number."""
        images = read_inaturalist(self.ann_file, Path(self.data_root) / 'categories.json')
        check_known(images, self.KNOWN, self.split)
        return images


def _read_classes(path: str) -> list[str]:
    if not Path(path).is_file():
        raise FileNotFoundError(f'`classes`: there is no file {path!r}. Give the names, or a file of one a line.')
    lines = Path(path).read_text(encoding='utf-8').splitlines()
    return [line.split('\t')[0].strip() for line in lines if line.strip()]
