"""Checks of logits and labels that losses of classification share."""
from collections.abc import Sequence

from torch import Tensor


def check_shapes(loss: str, logits: Tensor, target: Tensor, num_classes: int) -> None:
    """Raise if logits, labels and class counts don't fit each other.

    Args:
        loss (str): Name of the loss, for the message.
        logits (Tensor): To be of shape ``(N, C)``.
        target (Tensor): To be labels ``(N, )`` of an integer dtype, or soft labels ``(N, C)`` of a floating one.
        num_classes (int): C by the class counts.

    Raises:
        ValueError: Naming the shapes and the config field to change.
    """
    if logits.dim() != 2:
        raise ValueError(f'{loss} expects logits (N, C), got shape {tuple(logits.shape)}.')
    if logits.size(1) != num_classes:
        raise ValueError(f'{loss} got {logits.size(1)} logits, but class counts of {num_classes} classes. '
                         'Change `head.num_classes` or `class_counts`.')
    expected = tuple(logits.shape) if target.is_floating_point() else (len(logits), )
    if tuple(target.shape) != expected:
        raise ValueError(f'{loss} of logits {tuple(logits.shape)} expects labels {(len(logits), )} of an '
                         f'integer dtype or soft labels {tuple(logits.shape)} of a floating one, got shape '
                         f'{tuple(target.shape)} of {target.dtype}.'
                         + (' The columns of soft labels follow `data_preprocessor.num_classes`.'
                            if target.is_floating_point() else ''))


def check_labels(target: Tensor, num_classes: int, ignore_index: int) -> None:
    """Raise if a label lies outside of the classes; waits for an accelerator.

    Args:
        target (Tensor): Labels ``(N, )``; soft labels are let pass.
        num_classes (int): C.
        ignore_index (int): Label of rows that count nothing.

    Raises:
        ValueError: Naming the first such label.
    """
    if target.is_floating_point():
        return
    outside = (target != ignore_index) & ((target < 0) | (target >= num_classes))
    if outside.any():
        raise ValueError(f'label {int(target[outside][0])} is outside of the {num_classes} classes '
                         f'(0 … {num_classes - 1}). Check the labels of train_dataloader.dataset and '
                         '`head.num_classes`.')


def check_fraction(loss: str, option: str, value: float, one: bool = True) -> None:
    """Raise if an option is no number from 0 to 1.

    Args:
        loss (str): Name of the loss.
        option (str): Name of the option.
        value (float): Its value.
        one (bool): Whether 1 itself is allowed. Defaults to True.

    Raises:
        ValueError: Naming value and field.
    """
    check_number(loss, option, value, 0)
    if value > 1 or (value == 1 and not one):
        raise ValueError(f'{loss}: {option}={value!r} must be {"at most" if one else "below"} 1; change '
                         f'`head.loss.{option}`.')


def check_number(loss: str, option: str, value: float, least: float, above: bool = False,
                 field: str = 'head.loss') -> None:
    """Raise if an option is no finite number of at least (or above) a bound.

    Args:
        loss (str): Name of the loss.
        option (str): Name of the option.
        value (float): Its value.
        least (float): The bound.
        above (bool): Whether the value must lie above it. Defaults to False.
        field (str): Where the config has the options of this loss. Defaults to ``'head.loss'``.

    Raises:
        ValueError: Naming value and field.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (value > least if above else value >= least) or value == float('inf'):
        raise ValueError(f'{loss}: {option}={value!r} must be a number {"above" if above else "of at least"} {least}; '
                         f'change `{field}.{option}`.')


def first_empty(class_counts: Sequence[float]) -> int | None:
    """Index of the first class without images, None if there is none."""
    return next((index for index, count in enumerate(class_counts) if not count > 0), None)
