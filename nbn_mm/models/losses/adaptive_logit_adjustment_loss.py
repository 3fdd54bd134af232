"""Adaptive logit adjustment (ALA): a margin from the rarity of the class and the difficulty of the image.

Zhao et al., Adaptive Logit Adjustment Loss for Long-Tailed Visual Recognition, AAAI 2022, arXiv:2104.06094.
"""
import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...datasets.class_counts import ClassCounts
from .class_count_loss import ClassCountLoss
from .cosine_margin import check_cosine_predictor, lower_own_logit
from .label_cross_entropy import label_cross_entropy
from .labels import check_number


def quantity_factors(class_counts: Tensor | Sequence[float]) -> Tensor:
    r"""Quantity factor of each class, :math:`\log 2 / \log(n_j / n_{min} + 1)`: 1 for the rarest class.

    Args:
        class_counts (Tensor | Sequence[float]): Training images per class, all above 0, shape ``(C, )``.

    Returns:
        Tensor: In (0, 1], shape ``(C, )``, float64.
    """
    counts = torch.as_tensor(class_counts).double()
    return math.log(2) / torch.log1p(counts / counts.min())


def adaptive_logit_adjustment_loss(logits: Tensor,
                                   target: Tensor,
                                   quantity: Tensor,
                                   scale: float = 30.0,
                                   weight: Tensor | None = None,
                                   reduction: str = 'mean',
                                   avg_factor: float | None = None,
                                   ignore_index: int = -100,
                                   check_target: bool = True) -> Tensor:
    r"""Cross entropy of :math:`s (\cos_j - A [j = y])`, :math:`A = QF_y \cdot (1 - \cos_y) / 2`, in at least float32.

    No gradient goes through the adjustment.

    Args:
        logits (Tensor): :math:`s \cos_j`, shape ``(N, C)``.
        target (Tensor): Labels ``(N, )`` of an integer dtype, or soft labels ``(N, C)`` of a floating one, which give
            the mean over their classes.
        quantity (Tensor): QF, see :func:`quantity_factors`, shape ``(C, )``.
        scale (float): s. Defaults to 30.
        weight (Tensor, optional): Weight of each row, shape ``(N, )``.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor (float, optional): Divisor of ``'mean'`` instead of the number of rows that are not ignored.
        ignore_index (int): Label of rows that count nothing. Defaults to -100.
        check_target (bool): Whether to look for labels out of range.

    Returns:
        Tensor: A scalar, or ``(N, )`` without reduction; float32, or float64 for float64 logits.

    Raises:
        ValueError: If shapes, labels or the reduction don't fit.
    """
    quantity = quantity.to(logits.device)

    def lower(z: Tensor, labels: Tensor) -> Tensor:
        own = z.detach().gather(1, labels[:, None])[:, 0]
        return lower_own_logit(z, labels, quantity[labels] * (scale - own) / 2)  # s (1 - cos) / 2

    return label_cross_entropy(
        'ALA', logits, target, len(quantity), lower, weight=weight, reduction=reduction, avg_factor=avg_factor,
        ignore_index=ignore_index, check_target=check_target)


@MODELS.register_module()
class AdaptiveLogitAdjustmentLoss(ClassCountLoss):
    """ALA on a cosine classifier.

    ::

        head=dict(predictor=dict(type='CosineLinear', scale=30),
                  loss=dict(type='AdaptiveLogitAdjustmentLoss', scale=30))

    It does not go with logit rectification.

    Args:
        scale (float): s, that of the classifier. Defaults to 30.
        **kwargs: ``class_counts``, ``ignore_index``, ``reduction`` and ``loss_weight``, see :class:`ClassCountLoss`.

    Raises:
        ValueError: If an option is out of its range, or a class has no images.
    """
    ZERO_COUNT_REASON = 'All others are counted against the rarest class. Leave such classes out of the data set, or ' \
                        'correct `class_counts`.'

    def __init__(self, scale: float = 30.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_number('AdaptiveLogitAdjustmentLoss', 'scale', scale, 0, above=True)
        self.scale = scale

    def class_vectors(self, record: ClassCounts) -> tuple[Tensor, ...]:
        """The quantity factors."""
        return (quantity_factors(record.images), )

    def check_predictor(self, predictor: nn.Module) -> None:
        """Raise if this loss can't stand on a predictor; heads call it. See :func:`check_cosine_predictor`."""
        check_cosine_predictor('AdaptiveLogitAdjustmentLoss', predictor, self.scale)

    def loss(self, cls_score: Tensor, label: Tensor, **common: Any) -> Tensor:
        """See :func:`adaptive_logit_adjustment_loss`."""
        quantity, = self.vectors(cls_score)
        return adaptive_logit_adjustment_loss(cls_score, label, quantity, self.scale, **common)

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return f'scale={self.scale}, {super().extra_repr()}'
