"""Softmax Equalization Loss, the form of EQL for image classification.

Tan et al., Equalization Loss for Long-Tailed Object Recognition, CVPR 2020, arXiv:2003.05176, the softmax form: most of
the time an image does not push down the logits of the rare classes that it does not belong to.
"""
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor

from ...datasets.class_counts import ClassCounts
from .class_count_loss import ClassCountLoss
from .label_cross_entropy import label_cross_entropy
from .labels import check_fraction


def rare_classes(class_counts: Tensor | Sequence[float], threshold: float) -> Tensor:
    r"""The classes whose share of the training images is below a threshold :math:`\lambda`: :math:`T_\lambda`.

    Args:
        class_counts (Tensor | Sequence[float]): Training images per class, shape ``(C, )``.
        threshold (float): :math:`\lambda`.

    Returns:
        Tensor: Bool, shape ``(C, )``.
    """
    counts = torch.as_tensor(class_counts).double()
    return counts < threshold * counts.sum()


def softmax_equalization_loss(logits: Tensor,
                              target: Tensor,
                              rare: Tensor,
                              gamma: float = 0.9,
                              weight: Tensor | None = None,
                              reduction: str = 'mean',
                              avg_factor: float | None = None,
                              ignore_index: int = -100,
                              check_target: bool = True) -> Tensor:
    r"""Cross entropy with :math:`p_j = e^{z_j} / \sum_k w_k e^{z_k}`, :math:`w_k = 1 - \beta T_k (1 - y_k)`.

    :math:`\beta` is 1 with the probability :math:`\gamma`, else 0; it is drawn for each row and class (ours: the paper
    doesn't say) from torch's generator of the device. Computed in at least float32.

    Args:
        logits (Tensor): Shape ``(N, C)``.
        target (Tensor): Labels ``(N, )`` of an integer dtype, or soft labels ``(N, C)`` of a floating one, which give
            the mean over their classes.
        rare (Tensor): T, bool, shape ``(C, )``.
        gamma (float): :math:`\gamma`; 0 is cross entropy. Defaults to 0.9.
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

    def leave_out(z: Tensor, labels: Tensor) -> Tensor:
        out = (torch.rand(z.shape, device=z.device) < gamma) & rare.to(z.device)
        return z.masked_fill(out.scatter(1, labels[:, None], False), -torch.inf)

    return label_cross_entropy(
        'softmax EQL', logits, target, len(rare), leave_out if gamma else None, weight=weight, reduction=reduction,
        avg_factor=avg_factor, ignore_index=ignore_index, check_target=check_target)


@MODELS.register_module()
class SoftmaxEqualizationLoss(ClassCountLoss):
    """EQL in its softmax form, for classification; ``EqualizationLoss`` is that for detection.

    In eval mode nothing is drawn, and the loss is cross entropy.

    Args:
        threshold (float): λ: classes with a smaller share of the training images are rare. Bag of tricks for
            long-tailed recognition (Zhang et al., AAAI 2021) has 0.05 for CIFAR-10-LT, and for CIFAR-100-LT 0.005
            (imbalance factor 100) and 0.006 (50). Defaults to 0.005.
        gamma (float): γ: how often a rare class is left out. Defaults to 0.9.
        **kwargs: ``class_counts``, ``zero_count`` (``'ignore'``: such classes are rare), ``ignore_index``,
            ``reduction`` and ``loss_weight``, see :class:`ClassCountLoss`.

    Raises:
        ValueError: If an option is out of its range, or a class has no images.
    """
    ZERO_COUNT_REASON = "zero_count='ignore' in the loss takes them as rare classes."
    CAN_IGNORE_ZERO_COUNT = True

    def __init__(self, threshold: float = 0.005, gamma: float = 0.9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_fraction('SoftmaxEqualizationLoss', 'threshold', threshold)
        check_fraction('SoftmaxEqualizationLoss', 'gamma', gamma)
        self.threshold = threshold
        self.gamma = gamma

    def class_vectors(self, record: ClassCounts) -> tuple[Tensor, ...]:
        """Which classes are rare; logs how many."""
        rare = rare_classes(record.images, self.threshold)
        print_log(f'SoftmaxEqualizationLoss: {int(rare.sum())} of {record.num_classes} classes have less than '
                  f'{self.threshold:g} of the training images.', 'current')
        return (rare, )

    def loss(self, cls_score: Tensor, label: Tensor, **common: Any) -> Tensor:
        """See :func:`softmax_equalization_loss`."""
        rare, = self.vectors(cls_score)
        return softmax_equalization_loss(cls_score, label, rare, self.gamma if self.training else 0.0, **common)

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return f'threshold={self.threshold}, gamma={self.gamma}, {super().extra_repr()}'
