"""LDAM: margins that grow with the rarity of a class.

Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019, arXiv:1906.07413,
section 3.3, equations 12 and 13.
"""
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...datasets.class_counts import ClassCounts
from .cosine_margin import check_cosine_predictor, lower_own_logit
from .label_cross_entropy import label_cross_entropy
from .labels import check_number
from .reweighting_loss import ReweightingLoss


def ldam_margins(class_counts: Tensor | Sequence[float], max_margin: float = 0.5) -> Tensor:
    r"""Margins :math:`\Delta_j \propto n_j^{-1/4}`, the largest being ``max_margin``.

    Args:
        class_counts (Tensor | Sequence[float]): Training images per class, all above 0, shape ``(C, )``.
        max_margin (float): Margin of the rarest class, in units of the cosine. Defaults to 0.5.

    Returns:
        Tensor: Shape ``(C, )``, float64.
    """
    counts = torch.as_tensor(class_counts).double()
    return max_margin * (counts.min() / counts)**0.25


def ldam_loss(logits: Tensor,
              target: Tensor,
              margins: Tensor,
              scale: float = 30.0,
              class_weight: Tensor | None = None,
              average: str = 'weights',
              weight: Tensor | None = None,
              reduction: str = 'mean',
              avg_factor: float | None = None,
              ignore_index: int = -100,
              check_target: bool = True) -> Tensor:
    r"""Cross entropy of :math:`s (\cos_j - \Delta_j [j = y])`, in at least float32.

    Args:
        logits (Tensor): :math:`s \cos_j`, shape ``(N, C)``.
        target (Tensor): Labels ``(N, )`` of an integer dtype, or soft labels ``(N, C)`` of a floating one, which give
            the mean over their classes.
        margins (Tensor): :math:`\Delta`, shape ``(C, )``.
        scale (float): s. Defaults to 30.
        class_weight (Tensor, optional): Shape ``(C, )``.
        average (str): See :func:`label_cross_entropy`. Defaults to ``'weights'``, as published.
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
    margins = (scale * margins).to(logits.device)
    return label_cross_entropy(
        'LDAM', logits, target, len(margins), lambda z, y: lower_own_logit(z, y, margins[y]), class_weight, average,
        weight=weight, reduction=reduction, avg_factor=avg_factor, ignore_index=ignore_index, check_target=check_target)


@MODELS.register_module()
class LDAMLoss(ReweightingLoss):
    """LDAM on a cosine classifier, with deferred re-weighting (LDAM-DRW) where ``StageHook`` says so.

    ::

        head=dict(predictor=dict(type='CosineLinear', scale=30), loss=dict(type='LDAMLoss', scale=30))

    The classifier scales, so that its scores at test are probabilities of that scale as well; the published code scales
    in the loss, which gives the same loss. It does not go with logit rectification.

    Args:
        max_margin (float): Margin of the rarest class, in units of the cosine. Defaults to 0.5.
        scale (float): s, that of the classifier. Defaults to 30.
        beta (float): Of the effective number, for re-weighting. Defaults to 0.9999.
        average (str): ``'weights'``: under re-weighting the weights of a batch are scaled to a mean of 1, as published;
            or ``'rows'``. Defaults to ``'weights'``.
        **kwargs: ``class_counts``, ``ignore_index``, ``reduction`` and ``loss_weight``, see :class:`ClassCountLoss`.

    Raises:
        ValueError: If an option is out of its range, or a class has no images.
    """

    def __init__(self, max_margin: float = 0.5, scale: float = 30.0, beta: float = 0.9999, average: str = 'weights',
                 **kwargs: Any) -> None:
        super().__init__(beta, average, deferred=True, **kwargs)
        check_number('LDAMLoss', 'max_margin', max_margin, 0)
        check_number('LDAMLoss', 'scale', scale, 0, above=True)
        self.max_margin = max_margin
        self.scale = scale

    def class_vectors(self, record: ClassCounts) -> tuple[Tensor, ...]:
        """Margins and weights."""
        return ldam_margins(record.images, self.max_margin), self.class_weights(record)

    def check_predictor(self, predictor: nn.Module) -> None:
        """Raise if this loss can't stand on a predictor; heads call it. See :func:`check_cosine_predictor`."""
        check_cosine_predictor('LDAMLoss', predictor, self.scale)

    def loss(self, cls_score: Tensor, label: Tensor, **common: Any) -> Tensor:
        """See :func:`ldam_loss`."""
        margins, class_weight = self.vectors(cls_score)
        return ldam_loss(
            cls_score, label, margins, self.scale, class_weight if self.reweighting else None, self.average, **common)
