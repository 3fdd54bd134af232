"""Balanced Softmax.

Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, NeurIPS 2020, arXiv:2007.10740: the softmax of the
logits plus the logarithm of the class counts, in training only.
"""
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


def log_class_prior(class_counts: Tensor | Sequence[float]) -> Tensor:
    """Logarithm of each class's share of the training set, -inf for a class without images.

    Args:
        class_counts (Tensor | Sequence[float]): Training images per class, shape ``(C, )``.

    Returns:
        Tensor: Shape ``(C, )``, float64.
    """
    counts = torch.as_tensor(class_counts).double()
    return counts.log() - counts.sum().log()


def _check_target(target: Tensor, log_prior: Tensor, names: Sequence[str] | None, ignore_index: int) -> None:
    empty = torch.isneginf(log_prior)
    if target.is_floating_point():
        hit = (target > 0).any(0) & empty
    else:
        check_labels(target, len(log_prior), ignore_index)
        valid = target[target != ignore_index]
        hit = torch.zeros_like(empty)
        hit[valid.long()] = True
        hit &= empty
    if hit.any():
        index = int(hit.nonzero()[0])
        name = index if names is None else f'{index} ({names[index]})'
        raise ValueError(f'a target has class {name}, whose class count is 0: balanced softmax gives it the '
                         'probability 0. The class counts are not those of this training set; check `class_counts`.')


def balanced_softmax_loss(logits: Tensor,
                          target: Tensor,
                          class_counts: Tensor | Sequence[float],
                          weight: Tensor | None = None,
                          reduction: str = 'mean',
                          avg_factor: float | None = None,
                          ignore_index: int = -100,
                          log_prior: Tensor | None = None,
                          check_target: bool = True,
                          class_names: Sequence[str] | None = None) -> Tensor:
    r"""Cross entropy of :math:`z_j + \log n_j`, in at least float32.

    A class of count 0 is left out of the denominator.

    Args:
        logits (Tensor): Shape ``(N, C)``.
        target (Tensor): Labels ``(N, )`` of an integer dtype, or soft labels ``(N, C)`` of a floating one.
        class_counts (Tensor | Sequence[float]): Training images per class, shape ``(C, )``.
        weight (Tensor, optional): Weight of each row, shape ``(N, )``.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. ``'mean'`` divides by the rows that are not ignored.
        avg_factor (float, optional): Divisor of ``'mean'`` instead of the number of rows.
        ignore_index (int): Label of rows that count nothing. Defaults to -100.
        log_prior (Tensor, optional): :func:`log_class_prior` of ``class_counts``, if it is at hand.
        check_target (bool): Whether to look for labels out of range or of a class of count 0 (waits for an
            accelerator).
        class_names (Sequence[str], optional): For the error messages.

    Returns:
        Tensor: A scalar, or ``(N, )`` without reduction; float32, or float64 for float64 logits.

    Raises:
        ValueError: If shapes, labels, counts or the reduction don't fit.
    """
    check_reduction('balanced softmax', reduction, avg_factor)
    log_prior = log_class_prior(class_counts) if log_prior is None else log_prior
    check_shapes('balanced softmax', logits, target, len(log_prior))
    if check_target:
        _check_target(target, log_prior.to(target.device), class_names, ignore_index)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    with torch.autocast(logits.device.type, enabled=False):
        log_prior = log_prior.to(device=logits.device, dtype=dtype)
        log_prob = F.log_softmax(logits.to(dtype) + log_prior, dim=1)
        if target.is_floating_point():
            # 0 * -inf would be NaN where a class has no images
            loss = -(target.to(dtype) * log_prob.masked_fill(torch.isneginf(log_prior), 0.0)).sum(1)
            rows = max(len(loss), 1)
        else:
            loss = F.nll_loss(log_prob, target.long(), ignore_index=ignore_index, reduction='none')
            rows = (target != ignore_index).sum().clamp(min=1)
        return weighted_reduction(loss, weight, reduction, rows if avg_factor is None else avg_factor)


@MODELS.register_module()
class BalancedSoftmaxLoss(ClassCountLoss):
    """Balanced Softmax on the class counts that ``ClassCountsHook`` hands over.

    Args:
        class_counts (list[int] | str, optional): Training images per class, or a JSON file with them; used instead of
            those of the hook.
        zero_count (str): What to do with classes without training images: ``'error'``, or ``'ignore'`` to leave them
            out of the denominator. Defaults to ``'error'``.
        ignore_index (int): Label of rows that count nothing. Defaults to -100.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. Defaults to ``'mean'``.
        loss_weight (float): Factor. Defaults to 1.0.

    Raises:
        ValueError: If an option is unknown, or a class has no images.
    """
    ZERO_COUNT_REASON = ("Their logarithm is not finite; zero_count='ignore' in the loss leaves them out of the "
                         'denominator.')
    CAN_IGNORE_ZERO_COUNT = True

    def class_vectors(self, record: ClassCounts) -> tuple[Tensor, ...]:
        """The logarithm of each class's share, see :func:`log_class_prior`."""
        return (log_class_prior(record.images), )

    def loss(self, cls_score: Tensor, label: Tensor, **common: Any) -> Tensor:
        """See :func:`balanced_softmax_loss`."""
        log_prior, = self.vectors(cls_score)
        return balanced_softmax_loss(
            cls_score, label, self.class_counts.images, log_prior=log_prior, class_names=self.class_counts.classes,
            **common)
