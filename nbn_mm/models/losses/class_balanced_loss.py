"""Class-balanced loss: classes weigh by the inverse of their effective number of images.

Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, arXiv:1901.05555: softmax cross entropy
and focal loss, weighted. The paper's focal loss is of sigmoids; the focal form here is of the softmax (ours).
"""
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor

from ...datasets.class_counts import ClassCounts
from .label_cross_entropy import label_cross_entropy
from .labels import check_number
from .reweighting_loss import ReweightingLoss


def class_balanced_loss(logits: Tensor,
                        target: Tensor,
                        class_weight: Tensor | None,
                        num_classes: int,
                        gamma: float = 0.0,
                        average: str = 'rows',
                        weight: Tensor | None = None,
                        reduction: str = 'mean',
                        avg_factor: float | None = None,
                        ignore_index: int = -100,
                        check_target: bool = True) -> Tensor:
    r"""Weighted cross entropy, :math:`-w_y (1 - p_y)^\gamma \log p_y`, in at least float32.

    Args:
        logits (Tensor): Shape ``(N, C)``.
        target (Tensor): Labels ``(N, )`` of an integer dtype, or soft labels ``(N, C)`` of a floating one, which give
            the mean over their classes.
        class_weight (Tensor, optional): :func:`effective_number_weights`, shape ``(C, )``; None: all 1.
        num_classes (int): C.
        gamma (float): Focusing, 0 for cross entropy. Defaults to 0.
        average (str): See :func:`label_cross_entropy`. Defaults to ``'rows'``.
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
    return label_cross_entropy(
        'class-balanced loss', logits, target, num_classes, None, class_weight, average, gamma, weight, reduction,
        avg_factor, ignore_index, check_target)


@MODELS.register_module()
class ClassBalancedLoss(ReweightingLoss):
    """Class-balanced softmax cross entropy (CB), optionally focal, optionally deferred.

    Args:
        beta (float): Of the effective number, from 0 to below 1. Defaults to 0.9999.
        gamma (float): Focusing of the focal form; 0: cross entropy. Defaults to 0.
        deferred (bool): Whether classes count alike until ``StageHook`` turns the weights on (CE-DRW). Defaults to
            False.
        average (str): ``'rows'``: the weights sum to the number of classes over all classes, as published; or
            ``'weights'``: those of a batch have a mean of 1. Defaults to ``'rows'``.
        **kwargs: ``class_counts``, ``ignore_index``, ``reduction`` and ``loss_weight``, see :class:`ClassCountLoss`.

    Raises:
        ValueError: If an option is out of its range, or a class has no images.
    """

    def __init__(self, beta: float = 0.9999, gamma: float = 0.0, deferred: bool = False, average: str = 'rows',
                 **kwargs: Any) -> None:
        super().__init__(beta, average, deferred, **kwargs)
        check_number('ClassBalancedLoss', 'gamma', gamma, 0)
        self.gamma = gamma

    def class_vectors(self, record: ClassCounts) -> tuple[Tensor, ...]:
        """The weights."""
        return (self.class_weights(record), )

    def loss(self, cls_score: Tensor, label: Tensor, **common: Any) -> Tensor:
        """See :func:`class_balanced_loss`."""
        class_weight, = self.vectors(cls_score)
        return class_balanced_loss(
            cls_score, label, class_weight if self.reweighting else None, len(class_weight), self.gamma, self.average,
            **common)
