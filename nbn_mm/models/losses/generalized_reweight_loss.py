"""Generalized re-weight (GRW), the loss of DisAlign's second stage.

Zhang et al., Distribution Alignment: A Unified Framework for Long-Tail Visual Recognition, CVPR 2021, arXiv:2103.16370,
generalized re-weighting: cross entropy, each row weighted by a power of the inverse frequency of its class.
"""
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from ...datasets.class_counts import ClassCounts
from .class_count_loss import ClassCountLoss
from .label_cross_entropy import label_cross_entropy
from .labels import check_number


def generalized_reweight(class_counts: Tensor | Sequence[float], rho: float) -> Tensor:
    r"""Weight of each class: :math:`w_j = C (1 / r_j)^\rho / \sum_k (1 / r_k)^\rho`, r being the frequencies.

    :math:`\rho = 0` is cross entropy, 1 inverse frequency. The paper's weights sum to 1, those of its code, and these,
    to the number of classes C.

    Args:
        class_counts (Tensor | Sequence[float]): Training images per class, shape ``(C, )``.
        rho (float): :math:`\rho`, not negative.

    Returns:
        Tensor: Shape ``(C, )``, float64.

    Raises:
        ValueError: If rho is negative, or a class has no images.
    """
    check_number('generalized re-weight', 'rho', rho, 0)
    counts = torch.as_tensor(class_counts).double()
    if not (counts > 0).all():
        index = int((~(counts > 0)).nonzero()[0])
        raise ValueError(f'generalized re-weight: class {index} has {float(counts[index]):g} training images, and its '
                         'weight would be infinite. Check `class_counts`.')
    return (-rho * counts.log()).softmax(0) * len(counts)


def generalized_reweight_loss(logits: Tensor,
                              target: Tensor,
                              class_weight: Tensor | None,
                              num_classes: int,
                              weight: Tensor | None = None,
                              reduction: str = 'mean',
                              avg_factor: float | None = None,
                              ignore_index: int = -100,
                              check_target: bool = True) -> Tensor:
    """Cross entropy with a weight for each class, in at least float32.

    ``'mean'`` divides by the rows, not by their weights: a batch without rare classes has a small loss, as in the
    paper's expectation over the training set.

    Args:
        logits (Tensor): Shape ``(N, C)``.
        target (Tensor): Labels ``(N, )`` of an integer dtype, or soft labels ``(N, C)`` of a floating one.
        class_weight (Tensor, optional): :func:`generalized_reweight`, shape ``(C, )``; None: all 1.
        num_classes (int): C.
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
    return label_cross_entropy('generalized re-weight', logits, target, num_classes, None, class_weight, 'rows', 0.0,
                               weight, reduction, avg_factor, ignore_index, check_target)


@MODELS.register_module()
class GeneralizedReweightLoss(ClassCountLoss):
    """Generalized re-weight on the class counts that ``ClassCountsHook`` hands over.

    Args:
        rho (float): Power of the inverse frequency; 1.2 in the released run of ResNeXt-50 on ImageNet-LT. Defaults to
            1.2.
        deferred (bool): Whether classes count alike until ``StageHook(stages=[dict(reweight=True, …)])`` turns the
            weights on (one run of both stages). Defaults to False.
        **kwargs: ``class_counts``, ``ignore_index``, ``reduction`` and ``loss_weight`` of :class:`ClassCountLoss`.

    Raises:
        ValueError: If rho is negative, or a class has no images.
    """
    ZERO_COUNT_REASON = 'Their weights would be infinite. Leave them out of the data set, or correct `class_counts`.'

    def __init__(self, rho: float = 1.2, deferred: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_number('GeneralizedReweightLoss', 'rho', rho, 0)
        self.rho = rho
        self.reweighting = not deferred

    def set_reweighting(self, enabled: bool) -> None:
        """Weigh classes, or count them alike.

        Args:
            enabled (bool): Whether to weigh.
        """
        self.reweighting = bool(enabled)

    def class_vectors(self, record: ClassCounts) -> tuple[Tensor, ...]:
        """The weight of each class, see :func:`generalized_reweight`."""
        return (generalized_reweight(record.images, self.rho), )

    def loss(self, cls_score: Tensor, label: Tensor, **common: Any) -> Tensor:
        """See :func:`generalized_reweight_loss`."""
        class_weight, = self.vectors(cls_score)
        return generalized_reweight_loss(
            cls_score, label, class_weight if self.reweighting else None, len(class_weight), **common)

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return f'{super().extra_repr()}, rho={self.rho}, reweighting={self.reweighting}'
