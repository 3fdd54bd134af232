"""Seesaw loss of image classifiers, whose time does not depend on how many classes a batch holds.

Wang et al., Seesaw Loss for Long-Tailed Instance Segmentation, CVPR 2021, arXiv:2008.10032. Values, gradients and
counts are those of mmpretrain's ``SeesawLoss``, which waits for the device once for each class in the batch and
computes a matrix of C x C ratios.
"""
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from .reduction import check_reduction, weighted_reduction
from .seesaw import check_seesaw, count_labels, seesaw_cross_entropy


@MODELS.register_module()
class FastSeesawClsLoss(nn.Module):
    """Seesaw for mmpretrain's heads: C outputs, no background. It never waits for the device.

    A drop-in for mmpretrain's ``SeesawLoss``: the same options, state-dict key (``cum_samples``) and values. An empty
    batch gives 0 (the host: NaN), and a label out of range is an error that says so, before it is counted (on a CPU).

    Args:
        use_sigmoid (bool): Only False. Defaults to False.
        p (float): Exponent of the mitigation factor. Defaults to 0.8.
        q (float): Exponent of the compensation factor. Defaults to 2.0.
        num_classes (int): Number of classes C. Defaults to 1000.
        eps (float): Least score of the own class in the compensation factor. Defaults to 1e-2.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. Defaults to ``'mean'``.
        loss_weight (float): Factor. Defaults to 1.0.
        sync_counts (bool): Whether the counts are those of all ranks. False: each rank has its own, as in the host,
            and a checkpoint keeps those of rank 0. Defaults to False.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(self,
                 use_sigmoid: bool = False,
                 p: float = 0.8,
                 q: float = 2.0,
                 num_classes: int = 1000,
                 eps: float = 1e-2,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0,
                 sync_counts: bool = False) -> None:
        super().__init__()
        check_seesaw('FastSeesawClsLoss', use_sigmoid, p, q, eps)
        check_reduction('FastSeesawClsLoss', reduction, None)
        self.p = p
        self.q = q
        self.num_classes = num_classes
        self.eps = eps
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.sync_counts = sync_counts
        self.register_buffer('cum_samples', torch.zeros(num_classes))

    def forward(self,
                cls_score: Tensor,
                labels: Tensor,
                weight: Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: str | None = None) -> Tensor:
        """The loss, after the labels are counted; arguments as in mmpretrain's losses.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C)``.
            labels (Tensor): Shape ``(N, )``.
            weight (Tensor, optional): Weight of each row, shape ``(N, )``.
            avg_factor (float, optional): Divisor of ``'mean'`` instead of N.
            reduction_override (str, optional): Instead of ``reduction``.

        Returns:
            Tensor: A scalar, or ``(N, )`` without reduction.

        Raises:
            ValueError: If shapes, labels (on CPU) or the reduction don't fit.
        """
        reduction = reduction_override or self.reduction
        check_reduction('FastSeesawClsLoss', reduction, avg_factor)
        if cls_score.dim() != 2 or cls_score.size(1) != self.num_classes or labels.shape != cls_score.shape[:1]:
            raise ValueError(f'FastSeesawClsLoss of num_classes={self.num_classes} expects logits '
                             f'(N, {self.num_classes}) and labels (N, ), got {tuple(cls_score.shape)} and '
                             f'{tuple(labels.shape)}. Change `head.loss.num_classes`; soft labels don\'t go with it.')
        self.cum_samples += count_labels(labels, self.num_classes, self.sync_counts, 'head.loss.num_classes')
        loss = seesaw_cross_entropy(cls_score, labels, self.cum_samples, self.p, self.q, self.eps)
        divisor = max(len(loss), 1) if avg_factor is None else avg_factor
        return self.loss_weight * weighted_reduction(loss, weight, reduction, divisor)

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return (f'num_classes={self.num_classes}, p={self.p}, q={self.q}, eps={self.eps}, '
                f'loss_weight={self.loss_weight}, sync_counts={self.sync_counts}')
