"""How the losses of rows become one number."""
from torch import Tensor

REDUCTIONS = ('none', 'mean', 'sum')


def check_reduction(loss: str, reduction: str, avg_factor: float | None) -> None:
    """Raise ValueError if a reduction is unknown, or ``avg_factor`` is given for ``'sum'``.

    Args:
        loss (str): Name of the loss, for the message.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor (float, optional): Divisor of ``'mean'``.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f'{loss}: reduction={reduction!r} must be one of {REDUCTIONS}.')
    if avg_factor is not None and reduction == 'sum':
        raise ValueError(f"{loss}: avg_factor does not go with reduction='sum'.")


def weighted_reduction(loss: Tensor, weight: Tensor | None, reduction: str, divisor: float | Tensor) -> Tensor:
    """Weigh the rows and reduce them.

    Args:
        loss (Tensor): Loss of each row, shape ``(N, )``.
        weight (Tensor, optional): Weight of each row, shape ``(N, )``.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        divisor (float | Tensor): What ``'mean'`` divides the sum by.

    Returns:
        Tensor: A scalar, or ``(N, )`` without reduction.
    """
    if weight is not None:
        loss = loss * weight.to(loss.dtype)
    if reduction == 'none':
        return loss
    return loss.sum() if reduction == 'sum' else loss.sum() / divisor
