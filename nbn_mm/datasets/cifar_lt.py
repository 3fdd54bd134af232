"""CIFAR-10-LT and CIFAR-100-LT on mmpretrain's CIFAR classes."""
import hashlib
import logging
import pickle
from typing import Any

import mmengine.dist as dist
import numpy as np
from mmengine.fileio import LocalBackend, exists, get, get_file_backend, join_path
from mmengine.logging import print_log
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.datasets.utils import check_integrity, download_and_extract_archive
from mmpretrain.registry import DATASETS

from .long_tail import check_subset, long_tail_counts, long_tail_indices, subset_hash


class _LongTailedCIFAR:
    """What both sets share: reads and checks the batches of one split, and keeps a long-tailed part of ``'train'``.

    Each rank checks and reads by itself and comes to the same data or the same error; ranks wait for each other only
    around a download, whose outcome the first rank tells all others.
    """
    images_per_class = dict(train=5000, test=1000)

    def __init__(self,
                 data_root: str = '',
                 split: str = 'train',
                 imbalance_factor: float = 100,
                 imbalance_type: str = 'exp',
                 subset: str | int = 'canonical',
                 verify_md5: bool = True,
                 download: bool = False,
                 **kwargs: Any) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"{type(self).__name__}: split={split!r} is unknown; use 'train' or 'test'.")
        # Values first: a wrong one must not wait until the files are read.
        long_tail_counts(self.images_per_class['train'], self._num_classes, imbalance_factor, imbalance_type)
        check_subset(subset)
        self.imbalance_factor = imbalance_factor
        self.imbalance_type = imbalance_type
        self.subset = subset
        self.verify_md5 = verify_md5
        self.subset_hash: str | None = None
        super().__init__(data_root=data_root, split=split, download=download, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read, check and, for ``'train'``, thin out the images.

        Returns:
            list[dict]: ``img``, uint8 RGB of shape ``(32, 32, 3)``, and ``gt_label``, int; class by class for
            ``'train'``, in the order of the file for ``'test'``.

        Raises:
            FileNotFoundError: If batch files are missing.
            ValueError: If a file fails its md5 or is no CIFAR batch, or the images don't suffice for the subset.
        """
        root = self.data_prefix['root']
        files = [(join_path(root, self.base_folder, name), md5)
                 for name, md5 in (self.train_list if self.split == 'train' else self.test_list)]
        if self.download:
            self._download(root)
        missing = [path for path, _ in files if not exists(path)]
        if missing:
            raise FileNotFoundError(
                f'{self._name}: missing {missing}. Unpack {self.filename} ({self.url}) into '
                f'data_root={self.data_root!r}, so that {self.base_folder}/ stands in it, '
                'or set download=True in the config of the data set.')
        parts = [self._read(path, md5) for path, md5 in files]
        images = np.concatenate([data for data, _ in parts]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = np.concatenate([labels for _, labels in parts])
        self._check_sizes(np.bincount(labels, minlength=self._num_classes))
        if self.split == 'train':
            indices = long_tail_indices(labels, self.METAINFO['classes'], self.imbalance_factor, self.imbalance_type,
                                        self.subset, self._name)
            self.subset_hash = subset_hash(indices, labels)
        else:
            indices = np.arange(len(labels))
        return [dict(img=np.ascontiguousarray(images[index]), gt_label=int(labels[index])) for index in indices]

    @property
    def _name(self) -> str:
        return f'{type(self).__name__} ({self.split})'

    @property
    def _num_classes(self) -> int:
        return len(self.METAINFO['classes'])

    def _read(self, path: str, md5: str) -> tuple[np.ndarray, np.ndarray]:
        content = get(path)
        actual = hashlib.md5(content).hexdigest()
        if self.verify_md5 and actual != md5:
            raise ValueError(
                f'{self._name}: {path} has md5 {actual}, expected {md5}. It is damaged, or no official copy. To use '
                'a re-packed copy, set verify_md5=False in the config of the data set. Nothing was downloaded or '
                'changed.')
        try:
            entry = pickle.loads(content, encoding='latin1')
        except Exception as error:  # a damaged pickle raises nearly anything
            reason = f'{type(error).__name__}: {error}'
            raise ValueError(f'{self._name}: {path} is no readable pickle ({reason}).') from error
        key = 'fine_labels' if 'fine' in self.meta['key'] else 'labels'
        if not isinstance(entry, dict) or 'data' not in entry or key not in entry:
            raise ValueError(f'{self._name}: {path} holds no CIFAR batch: a dict with `data` and `{key}` is expected.')
        data, labels = np.asarray(entry['data']), np.asarray(entry[key])
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
            raise ValueError(f'{self._name}: `data` of {path} is {data.dtype} of shape {data.shape}, expected uint8 of '
                             'shape (N, 3072).')
        if labels.shape != (len(data), ) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f'{self._name}: `{key}` of {path} are {labels.dtype} of shape {labels.shape}, expected '
                             f'{len(data)} integers, one an image.')
        wrong = np.flatnonzero((labels < 0) | (labels >= self._num_classes))
        if len(wrong):
            raise ValueError(f'{self._name}: image {wrong[0]} of {path} has label {labels[wrong[0]]}, outside of the '
                             f'{self._num_classes} classes.')
        return data, labels.astype(np.int64)

    def _check_sizes(self, sizes: np.ndarray) -> None:
        """Refuse what can't be the named subset; say how an unofficial copy differs."""
        official = self.images_per_class[self.split]
        if (sizes == official).all():
            return
        text = f'{self._name}: classes of {sizes.min()} … {sizes.max()} images, officially {official} each'
        if self.split == 'test' and sizes.min() != sizes.max():
            raise ValueError(f'{text}. The test split must be balanced.')
        if self.split == 'train' and self.subset == 'canonical':
            raise ValueError(f"{text}, so that subset='canonical' can't be drawn. Set subset='first' or a seed in the "
                             'config of the data set.')
        print_log(
            f'{text}: accuracies are not comparable with published ones.', logger='current', level=logging.WARNING)

    def _download(self, root: str) -> None:
        """Fetch the archive if nothing of the data set is there; the first rank acts, all learn how it went."""
        outcome: list[str | None] = [None]
        if dist.is_main_process():
            try:
                self._download_if_absent(root)
            except Exception as error:
                outcome[0] = f'{type(error).__name__}: {error}'
        dist.broadcast_object_list(outcome)
        if outcome[0] is not None:
            raise RuntimeError(f'{self._name}: download failed with {outcome[0]}')

    def _download_if_absent(self, root: str) -> None:
        if exists(join_path(root, self.base_folder)):
            return  # Whatever is wrong with it, files of the user are not written over.
        if not isinstance(get_file_backend(root), LocalBackend):
            raise ValueError(f'data_root={root!r} is no local folder.')
        archive = join_path(root, self.filename)
        if exists(archive) and not check_integrity(archive, self.tgz_md5):
            raise ValueError(f'{archive} is there, but its md5 is not {self.tgz_md5}; it was left as it is.')
        download_and_extract_archive(self.url, root, filename=self.filename, md5=self.tgz_md5)


@DATASETS.register_module()
class CIFAR10LT(_LongTailedCIFAR, CIFAR10):
    """CIFAR-10, made long-tailed; the split ``'test'`` stays whole and balanced.

    The default is the subset of Cao et al. (LDAM), NeurIPS 2019, arXiv:1906.07413, on which published figures rest:
    12,406 images at factor 100. Its hash is logged and kept as ``subset_hash``. Images are RGB, so a data preprocessor
    needs ``to_rgb=False``.

    Args:
        data_root (str): Folder that holds ``cifar-10-batches-py/``.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.
        imbalance_factor (float): Largest over smallest class size of ``'train'``, at least 1. Defaults to 100.
        imbalance_type (str): ``'exp'`` or ``'step'``, see :func:`~nbn_mm.datasets.long_tail_counts`.
        subset (str | int): ``'canonical'``, ``'first'`` or a seed, see :func:`~nbn_mm.datasets.select_subset`.
        verify_md5 (bool): Whether the files must be the official ones, bit by bit. False takes a re-packed copy, whose
            structure and labels are checked all the same. Defaults to True.
        download (bool): Whether to download if ``cifar-10-batches-py/`` is absent. What is there is never written over.
            Defaults to False.
        **kwargs: Other arguments of mmpretrain's ``CIFAR10``.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If an argument is out of range, or a file is damaged or no CIFAR batch.
    """


@DATASETS.register_module()
class CIFAR100LT(_LongTailedCIFAR, CIFAR100):
    """CIFAR-100, made long-tailed; the split ``'test'`` stays whole and balanced.

    10,847 images at factor 100. Arguments as in :class:`CIFAR10LT`; ``data_root`` holds ``cifar-100-python/``.
    """
    images_per_class = dict(train=500, test=100)
