"""Label-aware smoothing, the loss of MiSLAS's second stage.

Zhong et al., Improving Calibration for Long-Tailed Recognition, CVPR 2021, arXiv:2104.00466: labels are smoothed the
more, the more training images their class has, because frequent classes are predicted with too much confidence.
"""
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from ...datasets.class_counts import ClassCounts
from .class_count_loss import ClassCountLoss
from .labels import check_labels, check_shapes
from .reduction import check_reduction, weighted_reduction

SHAPES = ('concave', 'linear', 'convex')
SPREADS = ('others', 'all')


def label_aware_smoothing(class_counts: Tensor | Sequence[float], head: float, tail: float,
                          shape: str = 'concave') -> Tensor:
    r"""Smoothing :math:`\epsilon_j` of each class, between ``tail`` (fewest images) and ``head`` (most).

    With :math:`t = (n_j - n_K) / (n_1 - n_K)`, the classes being sorted from :math:`n_1`, the most, to :math:`n_K`, the
    fewest: concave :math:`\epsilon_K + (\epsilon_1 - \epsilon_K) \sin(t \pi / 2)`, linear
    :math:`\epsilon_K + (\epsilon_1 - \epsilon_K) t`, convex :math:`\epsilon_1 + (\epsilon_1 - \epsilon_K)
    \sin(3 \pi / 2 + t \pi / 2)`. If all classes have equally many images, t is 1 (ours).

    Args:
        class_counts (Tensor | Sequence[float]): Training images per class, shape ``(C, )``.
        head (float): :math:`\epsilon_1`.
        tail (float): :math:`\epsilon_K`.
        shape (str): ``'concave'``, ``'linear'`` or ``'convex'``. Defaults to ``'concave'``.

    Returns:
        Tensor: Shape ``(C, )``, float64.

    Raises:
        ValueError: If the shape is unknown, or not ``0 <= tail <= head < 1``.
    """
    _check_options(head, tail, shape)
    counts = torch.as_tensor(class_counts).double()
    most, fewest = counts.max(), counts.min()
    t = torch.ones_like(counts) if most == fewest else (counts - fewest) / (most - fewest)
    if shape == 'concave':
        t = (t * (math.pi / 2)).sin()
    elif shape == 'convex':
        t = 1 - (t * (math.pi / 2)).cos()
    return tail + (head - tail) * t


def _check_options(head: float, tail: float, shape: str, spread: str = 'others') -> None:
    if shape not in SHAPES:
        raise ValueError(f'label-aware smoothing: shape={shape!r} must be one of {SHAPES}.')
    if spread not in SPREADS:
        raise ValueError(f'label-aware smoothing: spread={spread!r} must be one of {SPREADS}.')
    if not 0 <= tail <= head < 1:
        raise ValueError(f'label-aware smoothing: head={head} and tail={tail} must satisfy 0 <= tail <= head < 1.')


def label_aware_smoothing_loss(logits: Tensor,
                               target: Tensor,
                               smoothing: Tensor,
                               weight: Tensor | None = None,
                               reduction: str = 'mean',
                               avg_factor: float | None = None,
                               ignore_index: int = -100,
                               spread: str = 'others',
                               check_target: bool = True) -> Tensor:
    r"""Cross entropy with labels that are smoothed by class, in at least float32.

    A row of class y has :math:`1 - \epsilon_y` at y, and :math:`\epsilon_y / (C - 1)` at each other class
    (``'others'``, the paper), or :math:`\epsilon_y / C` more at every class (``'all'``, the released code). Soft labels
    give the mean over their classes.

    Args:
        logits (Tensor): Shape ``(N, C)``, C > 1.
        target (Tensor): Labels ``(N, )`` of an integer dtype, or soft labels ``(N, C)`` of a floating one.
        smoothing (Tensor): :math:`\epsilon`, shape ``(C, )``.
        weight (Tensor, optional): Weight of each row, shape ``(N, )``.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. ``'mean'`` divides by the rows that are not ignored.
        avg_factor (float, optional): Divisor of ``'mean'`` instead of the number of rows.
        ignore_index (int): Label of rows that count nothing. Defaults to -100.
        spread (str): ``'others'`` or ``'all'``. Defaults to ``'others'``.
        check_target (bool): Whether to look for labels out of range.

    Returns:
        Tensor: A scalar, or ``(N, )`` without reduction; float32, or float64 for float64 logits.

    Raises:
        ValueError: If shapes, labels or the reduction don't fit, or there is one class only.
    """
    check_reduction('label-aware smoothing', reduction, avg_factor)
    classes = len(smoothing)
    check_shapes('label-aware smoothing', logits, target, classes)
    if classes < 2:
        raise ValueError('label-aware smoothing needs at least 2 classes, got 1. Change `head.num_classes`.')
    if check_target:
        check_labels(target, classes, ignore_index)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    with torch.autocast(logits.device.type, enabled=False):
        log_prob = F.log_softmax(logits.to(dtype), dim=1)
        eps = smoothing.to(device=logits.device, dtype=dtype)
        # a share at the class itself and the rest at every class alike
        everywhere = eps / (classes - 1 if spread == 'others' else classes)
        itself = 1 - eps - (everywhere if spread == 'others' else 0)
        total = log_prob.sum(1)
        if target.is_floating_point():
            soft = target.to(dtype)
            loss = -(soft * itself * log_prob).sum(1) - (soft * everywhere).sum(1) * total
            rows = max(len(loss), 1)
        else:
            kept = target != ignore_index
            label = target.long().where(kept, torch.zeros_like(target, dtype=torch.long))
            own = log_prob.gather(1, label[:, None]).squeeze(1)
            loss = -(itself[label] * own + everywhere[label] * total) * kept
            rows = kept.sum().clamp(min=1)
        return weighted_reduction(loss, weight, reduction, rows if avg_factor is None else avg_factor)


@MODELS.register_module()
class LabelAwareSmoothingLoss(ClassCountLoss):
    """Label-aware smoothing on the class counts that ``ClassCountsHook`` hands over.

    Args:
        head (float): Smoothing of the class with the most training images. Defaults to 0.3.
        tail (float): Smoothing of the class with the fewest. Defaults to 0.0.
        shape (str): ``'concave'``, ``'linear'`` or ``'convex'`` in between. Defaults to ``'concave'``.
        spread (str): Where the smoothed part goes: ``'others'``, or ``'all'`` classes as in the released code. Defaults
            to ``'others'``.
        active (bool): False: plain cross entropy, until ``StageHook`` sets it (one run of both stages). Defaults to
            True.
        **kwargs: ``class_counts``, ``ignore_index``, ``reduction`` and ``loss_weight`` of :class:`ClassCountLoss`.

    Raises:
        ValueError: If an option is unknown or out of range, or a class has no images.
    """
    ZERO_COUNT_REASON = ('The smoothing is a function of the counts of all classes. Leave such classes out of the data '
                         'set, or correct `class_counts`.')

    def __init__(self,
                 head: float = 0.3,
                 tail: float = 0.0,
                 shape: str = 'concave',
                 spread: str = 'others',
                 active: bool = True,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _check_options(head, tail, shape, spread)
        self.head = head
        self.tail = tail
        self.shape = shape
        self.spread = spread
        self.active = active

    def class_vectors(self, record: ClassCounts) -> tuple[Tensor, ...]:
        """The smoothing of each class, see :func:`label_aware_smoothing`."""
        return (label_aware_smoothing(record.images, self.head, self.tail, self.shape), )

    def loss(self, cls_score: Tensor, label: Tensor, **common: Any) -> Tensor:
        """See :func:`label_aware_smoothing_loss`."""
        smoothing, = self.vectors(cls_score)
        return label_aware_smoothing_loss(
            cls_score, label, smoothing if self.active else torch.zeros_like(smoothing), spread=self.spread, **common)

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return (f'{super().extra_repr()}, head={self.head}, tail={self.tail}, shape={self.shape!r}, '
                f'spread={self.spread!r}, active={self.active}')
