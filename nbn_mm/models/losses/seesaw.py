"""What both Seesaw losses stand on: the loss of labelled rows, and the counts of labels.

Wang et al., Seesaw Loss for Long-Tailed Instance Segmentation, CVPR 2021, arXiv:2008.10032.
"""
import math

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor


def seesaw_cross_entropy(logits: Tensor,
                         label: Tensor,
                         counts: Tensor,
                         p: float = 0.8,
                         q: float = 2.0,
                         eps: float = 1e-2) -> Tensor:
    r"""Seesaw loss of each row: :math:`-\log\big(e^{z_i} / (\sum_{j \ne i} S_{ij} e^{z_j} + e^{z_i})\big)`, label i.

    That is the cross-entropy of :math:`z_j + \log S_{ij}`, in which no gradient passes the factors
    :math:`S_{ij} = M_{ij}\,C_{ij}`. Their logarithms, but for constants of a row, which cancel, stay finite:
    :math:`p \min(\log N_j, \log N_i)` (mitigation) and :math:`q \max(\log \sigma_j, \log \sigma_i, \log \epsilon)`
    (compensation). Only the rows ``M[label]`` are computed, never the matrix (C, C). Computed in at least float32.

    Args:
        logits (Tensor): Shape ``(N, C)``.
        label (Tensor): Shape ``(N, )``, from 0 to C - 1.
        counts (Tensor): Samples of each class so far, shape ``(C, )``; a count below 1 counts as 1.
        p (float): Exponent of the mitigation factor; 0: without it. Defaults to 0.8.
        q (float): Exponent of the compensation factor; 0: without it. Defaults to 2.0.
        eps (float): Least score of the own class in the compensation factor. Defaults to 1e-2.

    Returns:
        Tensor: Shape ``(N, )``; float32, or float64 for float64 logits.
    """
    label = label.long()
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        shifts = []
        if q > 0:
            scores = F.log_softmax(logits.detach(), dim=1)
            own = scores.gather(1, label[:, None]).clamp_(min=math.log(eps) if eps > 0 else -math.inf)
            shifts.append(torch.maximum(scores, own, out=scores).mul_(q))
        if p > 0:
            # relative to the largest: small numbers keep more digits
            log_counts = counts.to(logits.dtype).clamp(min=1).log_()
            log_counts = log_counts.sub_(log_counts.max()).mul_(p)
            shifts.append(torch.minimum(log_counts, log_counts[label][:, None]))
        if len(shifts) == 2:
            shifts = [shifts[0].add_(shifts[1])]
        return F.cross_entropy(shifts[0].add_(logits) if shifts else logits, label, reduction='none')


def count_labels(label: Tensor, length: int, sync: bool = False, field: str = 'loss_cls.num_classes') -> Tensor:
    """How often each label occurs, without waiting for the device.

    Args:
        label (Tensor): Shape ``(N, )``, from 0 to ``length - 1``.
        length (int): Number of labels, background included.
        sync (bool): Whether to add the counts of all ranks, which must then all come here. Defaults to False.
        field (str): Field of the config that says ``length``, for the message.

    Returns:
        Tensor: int64, shape ``(length, )``.

    Raises:
        ValueError: On a CPU, if a label is out of range. On a GPU that is an assertion of the device.
    """
    label = label.long()
    counts = label.new_zeros(length)
    try:
        counts.scatter_add_(0, label, torch.ones_like(label))
    except RuntimeError as error:
        if label.device.type != 'cpu' or (0 <= label.min() and label.max() < length):
            raise
        raise ValueError(f'Seesaw: labels from {int(label.min())} to {int(label.max())}, but they must lie between 0 '
                         f'and {length - 1}. Check train_dataloader.dataset and `{field}`.') from error
    if sync:
        all_reduce(counts)
    return counts


def check_seesaw(loss: str, use_sigmoid: bool, p: float, q: float, eps: float) -> None:
    """Raise ValueError for a value that Seesaw has no meaning for.

    Args:
        loss (str): Name of the loss, for the message.
        use_sigmoid (bool): Only False.
        p (float): At least 0.
        q (float): At least 0.
        eps (float): At least 0.
    """
    if use_sigmoid:
        raise ValueError(f'{loss}: use_sigmoid={use_sigmoid}, but Seesaw is a softmax. Remove `loss_cls.use_sigmoid`.')
    for name, value in dict(p=p, q=q, eps=eps).items():
        if not value >= 0:
            raise ValueError(f'{loss}: {name}={value} must be at least 0; change `loss_cls.{name}`.')


class SplitScores(torch.autograd.Function):
    """Class logits of some rows, and the last two columns of all rows; the gradient is written once.

    Slices and an index would each fill a gradient of the whole matrix with zeros, and add them, which takes longer
    than the loss.
    """

    @staticmethod
    def forward(scores: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Select.

        Args:
            scores (Tensor): Shape ``(N, C + 2)``.
            rows (Tensor): Indices, each at most once, shape ``(P, )``.

        Returns:
            tuple[Tensor, Tensor]: ``(P, C)`` and ``(N, 2)``.
        """
        return scores[:, :-2].index_select(0, rows), scores[:, -2:].clone()

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple) -> None:
        """Keep the rows."""
        scores, rows = inputs
        ctx.save_for_backward(rows)
        ctx.shape = scores.shape

    @staticmethod
    def backward(ctx, classes: Tensor, last: Tensor) -> tuple[Tensor, None]:
        """Put both gradients into zeros."""
        rows, = ctx.saved_tensors
        gradient = classes.new_zeros(ctx.shape)
        gradient[:, :-2].index_copy_(0, rows, classes)
        gradient[:, -2:] = last
        return gradient, None
