"""CMO: which foregrounds are pasted where, for data sets that read each image and those on the device.

Park et al., The Majority Can Help The Minority: Context-rich Minority Oversampling for Long-tailed Classification, CVPR
2022, arXiv:2112.00412. A rectangle of an image that is drawn by the inverse frequency of its class is pasted on an
image of the original sampler, as in CutMix; the label is mixed by the area.
"""
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Paste:
    """The choices for one batch.

    Args:
        foreground (np.ndarray): Index in the data set of each image's foreground, int64, shape ``(N, )``.
        top (int): First row of the rectangle, the same in both images.
        left (int): First column.
        bottom (int): Row behind the last one.
        right (int): Column behind the last one.
        share (float): Share of the background that stays, lambda: 1 - area of the rectangle / area of the image.
    """
    foreground: np.ndarray
    top: int
    left: int
    bottom: int
    right: int
    share: float


def class_probabilities(counts: Sequence[int], power: float = 1.0) -> np.ndarray:
    """Probability of each class among the foregrounds: an image of a class of n images has the weight ``n ** -power``.

    Args:
        counts (Sequence[int]): Images of each class, shape ``(C, )``.
        power (float): 1 is the authors' code: classes come equally often. 2 is the paper's text: classes come in
            proportion to 1/n. Defaults to 1.

    Returns:
        np.ndarray: float64, shape ``(C, )``; 0 for a class without images.
    """
    counts = np.asarray(counts, dtype=np.float64)
    weights = np.where(counts > 0, np.maximum(counts, 1) ** (1 - power), 0.)
    return weights / weights.sum()


def num_classes_of(dataset: Any) -> int:
    """Number of classes of a data set, the length of its soft labels.

    Args:
        dataset: A data set of mmengine's interface.

    Raises:
        ValueError: If it has no class names.
    """
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if not classes:
        raise ValueError(f'CMO: {type(dataset).__name__} has no class names, whose number its soft labels need. Set '
                         'metainfo=dict(classes=[...]) in its config.')
    return len(classes)


class CMO:
    """Draws the choices of CMO: one coin, one rectangle and one foreground an image for each batch.

    Args:
        prob (float): Probability that a batch is mixed. Defaults to 0.5.
        alpha (float): The background's share before the rectangle is clipped at the border is drawn from
            Beta(alpha, alpha). Defaults to 1.0.
        power (float): See :func:`class_probabilities`. Defaults to 1.0.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, prob: float = 0.5, alpha: float = 1.0, power: float = 1.0) -> None:
        for name, value, good, rule in (('prob', prob, lambda x: 0 < x <= 1, 'above 0, up to 1'),
                                        ('alpha', alpha, lambda x: 0 < x < math.inf, 'positive'),
                                        ('power', power, lambda x: 0 <= x < math.inf, 'at least 0')):
            if isinstance(value, bool) or not isinstance(value, Real) or not good(value):
                raise ValueError(f'CMO: {name}={value!r} must be a number {rule}.')
        self.prob, self.alpha, self.power = prob, alpha, power
        self._bounds: np.ndarray | None = None

    @property
    def ready(self) -> bool:
        """bool: Whether the labels are known."""
        return self._bounds is not None

    def set_labels(self, labels: np.ndarray, num_classes: int) -> None:
        """Take the labels of the data set.

        Args:
            labels (np.ndarray): int64, one for each image.
            num_classes (int): Number of classes C.

        Raises:
            ValueError: If a label lies outside of the classes.
        """
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ValueError(f'CMO: labels from {labels.min()} to {labels.max()} in a data set of {num_classes} '
                             'classes. Check the ann_file and metainfo.classes of train_dataloader.dataset.')
        counts = np.bincount(labels, minlength=num_classes)
        self._bounds = (class_probabilities(counts, self.power) / np.maximum(counts, 1))[labels].cumsum()

    def foregrounds(self, random: np.random.Generator, number: int) -> np.ndarray:
        """Draw foregrounds, with replacement; all images of a class are equally likely.

        Args:
            random (np.random.Generator): Source of randomness.
            number (int): How many, N.

        Returns:
            np.ndarray: Indices, int64, shape ``(N, )``.
        """
        points = random.random(number) * self._bounds[-1]
        return np.minimum(np.searchsorted(self._bounds, points, side='right'), len(self._bounds) - 1)

    def draw(self, random: np.random.Generator, number: int, height: int, width: int) -> Paste | None:
        """Draw the choices for a batch.

        Args:
            random (np.random.Generator): Source of randomness.
            number (int): Images N.
            height (int): Of the images.
            width (int): Of the images.

        Returns:
            Paste | None: None if the batch stays as it is.
        """
        if random.random() >= self.prob:
            return None
        side = math.sqrt(1 - random.beta(self.alpha, self.alpha))
        rows, columns = int(height * side) // 2, int(width * side) // 2
        row, column = int(random.integers(height)), int(random.integers(width))
        top, bottom = max(row - rows, 0), min(row + rows, height)
        left, right = max(column - columns, 0), min(column + columns, width)
        share = 1 - (bottom - top) * (right - left) / (height * width)
        return Paste(self.foregrounds(random, number), top, left, bottom, right, share)

    def __repr__(self) -> str:
        return f'CMO(prob={self.prob}, alpha={self.alpha}, power={self.power})'
