"""Digits-LT: scikit-learn's handwritten digits, made long-tailed. Real images that need no download."""
from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from .long_tail import check_subset, long_tail_counts, long_tail_indices, subset_hash

TEST_PER_CLASS = 30
TRAIN_PER_CLASS = 144


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 digits that scikit-learn carries (Alpaydin and Kaynak, UCI optical recognition of handwritten digits).

    Returns:
        tuple[np.ndarray, np.ndarray]: Images, uint8, shape ``(1797, 8, 8, 3)``: the 17 grey levels 0 … 16 spread over
        0 … 255 and repeated in three channels; labels, int64, shape ``(1797, )``.

    Raises:
        ImportError: If scikit-learn is missing.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            'DigitsLT takes its images from scikit-learn, which could not be imported; install it with '
            f'`pip install scikit-learn`. The original error was {type(error).__name__}: {error}') from error
    digits = datasets.load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1), digits.target.astype(np.int64)


@DATASETS.register_module()
class DigitsLT(BaseDataset):
    """Scikit-learn's handwritten digits, 10 classes of 8×8 images, made long-tailed.

    The split is fixed and stratified: the last 30 images of each class, in file order, are ``'test'`` (300, balanced),
    and of those before them the first 144 of each class are the pool of ``'train'``. At imbalance factor 20 its classes
    have 144, 103, 74, 53, 38, 27, 19, 14, 10 and 7 images: two many-shot, four medium-shot and four few-shot classes.

    Args:
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.
        imbalance_factor (float): Largest over smallest class size of ``'train'``, from 1 to 144. Defaults to 20.
        imbalance_type (str): ``'exp'`` or ``'step'``, see :func:`~nbn_mm.datasets.long_tail_counts`.
        subset (str | int): ``'canonical'``, ``'first'`` or a seed, see :func:`~nbn_mm.datasets.select_subset`.
        metainfo (dict, optional): Further meta information.
        **kwargs: Other arguments of mmpretrain's ``BaseDataset``.

    Raises:
        ImportError: If scikit-learn is missing.
        ValueError: If an argument is out of range.
    """
    METAINFO = dict(classes=('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'))

    def __init__(self,
                 split: str = 'train',
                 imbalance_factor: float = 20,
                 imbalance_type: str = 'exp',
                 subset: str | int = 'canonical',
                 metainfo: dict | None = None,
                 **kwargs: Any) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"DigitsLT: split={split!r} is unknown; use 'train' or 'test'.")
        long_tail_counts(TRAIN_PER_CLASS, len(self.METAINFO['classes']), imbalance_factor, imbalance_type)
        check_subset(subset)
        self.split = split
        self.imbalance_factor = imbalance_factor
        self.imbalance_type = imbalance_type
        self.subset = subset
        self.subset_hash: str | None = None
        super().__init__(ann_file='', metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Split the digits and, for ``'train'``, thin them out.

        Returns:
            list[dict]: ``img``, uint8 of shape ``(8, 8, 3)``, and ``gt_label``, int.
        """
        images, labels = load_digits()
        members = [np.flatnonzero(labels == label) for label in range(len(self.METAINFO['classes']))]
        if self.split == 'test':
            indices = np.concatenate([index[-TEST_PER_CLASS:] for index in members])
        else:
            pool = np.sort(np.concatenate([index[:-TEST_PER_CLASS][:TRAIN_PER_CLASS] for index in members]))
            indices = long_tail_indices(labels, self.METAINFO['classes'], self.imbalance_factor, self.imbalance_type,
                                        self.subset, 'DigitsLT (train)', pool)
            self.subset_hash = subset_hash(indices, labels)
        return [dict(img=images[index], gt_label=int(labels[index])) for index in indices]

    def extra_repr(self) -> list[str]:
        """What tells one DigitsLT from another."""
        return [f'Split: \t{self.split}', f'Imbalance factor: \t{self.imbalance_factor} ({self.imbalance_type})']
