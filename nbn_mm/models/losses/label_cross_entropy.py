"""Cross entropy whose logits or weights depend on the label: what margin and re-weighting losses share."""
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .labels import check_labels, check_shapes
from .reduction import check_reduction, weighted_reduction

AVERAGES = ('rows', 'weights')


def _pairs(target: Tensor, ignore_index: int) -> tuple[Tensor | None, Tensor, Tensor]:
    """Pairs of a row and a class: rows (None: one pair for each row, in order), classes, shares of the row."""
    if target.is_floating_point():
        rows, classes = target.nonzero(as_tuple=True)
        return rows, classes, target[rows, classes]
    kept = target != ignore_index
    return None, target.long().where(kept, torch.zeros_like(target, dtype=torch.long)), kept


def label_cross_entropy(loss_name: str,
                        logits: Tensor,
                        target: Tensor,
                        num_classes: int,
                        adjust: Callable[[Tensor, Tensor], Tensor] | None = None,
                        class_weight: Tensor | None = None,
                        average: str = 'rows',
                        gamma: float = 0.0,
                        weight: Tensor | None = None,
                        reduction: str = 'mean',
                        avg_factor: float | None = None,
                        ignore_index: int = -100,
                        check_target: bool = True) -> Tensor:
    r"""Cross entropy of adjusted logits, in at least float32.

    A row with soft labels is the sum over its classes of ``share · loss of that label``: the form in which mixup
    combines two losses.

    Args:
        loss_name (str): For the error messages.
        logits (Tensor): Shape ``(N, C)``.
        target (Tensor): Labels ``(N, )`` of an integer dtype, or soft labels ``(N, C)`` of a floating one.
        num_classes (int): C by the class counts.
        adjust (Callable, optional): Takes logits ``(K, C)`` and the labels ``(K, )`` that they are compared with, and
            returns logits ``(K, C)``.
        class_weight (Tensor, optional): Weight of a label, shape ``(C, )``.
        average (str): With ``class_weight``: ``'rows'``, or ``'weights'`` to scale the weights of a batch to a mean of
            1, which is the weighted mean of ``torch.nn.functional.cross_entropy``.
        gamma (float): Focusing: the loss of a label is multiplied by :math:`(1 - p_y)^\gamma`. Defaults to 0.
        weight (Tensor, optional): Weight of each row, shape ``(N, )``.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. ``'mean'`` divides by the rows that are not ignored.
        avg_factor (float, optional): Divisor of ``'mean'`` instead of the number of rows.
        ignore_index (int): Label of rows that count nothing. Defaults to -100.
        check_target (bool): Whether to look for labels out of range (waits for an accelerator).

    Returns:
        Tensor: A scalar, or ``(N, )`` without reduction; float32, or float64 for float64 logits.

    Raises:
        ValueError: If shapes, labels or the reduction don't fit.
    """
    check_reduction(loss_name, reduction, avg_factor)
    check_shapes(loss_name, logits, target, num_classes)
    if check_target:
        check_labels(target, num_classes, ignore_index)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    with torch.autocast(logits.device.type, enabled=False):
        rows, labels, shares = _pairs(target, ignore_index)
        count = (shares.sum() if rows is None else torch.tensor(len(logits), device=logits.device)).clamp(min=1)
        z = logits.to(dtype)
        z = z if rows is None else z[rows]
        loss = F.cross_entropy(z if adjust is None else adjust(z, labels), labels, reduction='none')
        if gamma:
            # the bound keeps the derivative of the power finite where p is 1
            loss = loss * (-torch.expm1(-loss)).clamp(min=torch.finfo(dtype).tiny)**gamma
        shares = shares.to(dtype)
        if class_weight is not None:
            shares = shares * class_weight.to(device=logits.device, dtype=dtype)[labels]
            if average == 'weights':
                shares = shares * (count / shares.sum().clamp(min=torch.finfo(dtype).tiny))
        loss = loss * shares
        if rows is not None:
            loss = loss.new_zeros(len(logits)).index_add(0, rows, loss)
        return weighted_reduction(loss, weight, reduction, count if avg_factor is None else avg_factor)
