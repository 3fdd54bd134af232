"""What losses that need the class counts of the training set share."""
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.class_counts import ClassCounts, parse_class_counts
from .reduction import check_reduction

HOOK_LINE = "default_hooks = dict(class_counts=dict(type='ClassCountsHook'))"
# The oldest torch that is accepted lacks it.
_is_compiling = getattr(getattr(torch, 'compiler', None), 'is_compiling', lambda: False)


def given_counts(name: str, given: Sequence[int] | Mapping | str, record: ClassCounts) -> ClassCounts:
    """The counts that a loss was given by its option ``class_counts``, in the label order of the training set.

    Args:
        name (str): The loss, for messages.
        given (list[int] | dict | str): The option.
        record (ClassCounts): The record of the training set.

    Raises:
        ValueError: If the option has another number or other names of classes.
    """
    field = f'`class_counts` of {name}'
    number = parse_class_counts(given, field=field).num_classes
    if number != record.num_classes:
        raise ValueError(f'{field} holds {number} classes, but the training set has {record.num_classes}.')
    return parse_class_counts(given, classes=record.classes, field=field)


class ClassCountLoss(nn.Module):
    """Base of losses on the class counts that ``ClassCountsHook`` hands over; a subclass turns them into vectors.

    A subclass implements :meth:`class_vectors`, and :meth:`loss`, which reads the result by :meth:`vectors`. The
    counts are no part of the state dict, and no buffers either: mmengine's averaged models pair the buffers of two
    copies by their order, so a model must not gain one after it was copied.

    Args:
        class_counts (list[int] | dict | str, optional): Training images per class in label order or by name, or a JSON
            file with them; used instead of those of the hook.
        zero_count (str): What to do with classes without training images: ``'error'``, or ``'ignore'`` where the
            subclass can leave them out. Defaults to ``'error'``.
        ignore_index (int): Label of rows that count nothing. Defaults to -100.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. Defaults to ``'mean'``.
        loss_weight (float): Factor. Defaults to 1.0.

    Raises:
        ValueError: If an option is unknown, or a class has no images.
    """
    # On CPU the labels of every batch are checked; elsewhere that waits for the device, so those of the first batches.
    CHECKED_BATCHES = 10
    # Needs no counts at test, where there is no loss.
    class_counts_at_test = False
    # Why a class without images is an error; ends the message.
    ZERO_COUNT_REASON = 'Leave such classes out of the data set, or correct `class_counts`.'
    # Whether zero_count='ignore' has a meaning.
    CAN_IGNORE_ZERO_COUNT = False

    def __init__(self,
                 class_counts: Sequence[int] | Mapping | str | None = None,
                 zero_count: str = 'error',
                 ignore_index: int = -100,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        name = type(self).__name__
        allowed = ('error', 'ignore') if self.CAN_IGNORE_ZERO_COUNT else ('error', )
        if zero_count not in allowed:
            raise ValueError(f'{name}: zero_count={zero_count!r} must be {" or ".join(map(repr, allowed))}.')
        check_reduction(name, reduction, None)
        self.zero_count = zero_count
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.class_counts: ClassCounts | None = None
        self._vectors: tuple[Tensor, ...] | None = None
        self._batches = 0
        self._given = class_counts
        self._overridden = class_counts is not None
        if self._overridden:
            self.class_counts = parse_class_counts(class_counts, field=f'`class_counts` of {name}')
            self._check_zero_counts(self.class_counts)

    def class_vectors(self, record: ClassCounts) -> tuple[Tensor, ...]:
        """What the loss needs of the counts.

        Args:
            record (ClassCounts): The counts.

        Returns:
            tuple[Tensor]: Vectors of shape ``(C, )``, float64.
        """
        raise NotImplementedError

    def loss(self, cls_score: Tensor, label: Tensor, **common: Any) -> Tensor:
        """The loss without its weight.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C)``.
            label (Tensor): Labels ``(N, )`` or soft labels ``(N, C)``.
            **common: ``weight``, ``reduction``, ``avg_factor``, ``ignore_index`` and ``check_target`` of the function.

        Returns:
            Tensor: A scalar, or ``(N, )`` without reduction.
        """
        raise NotImplementedError

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: str | None = None) -> Tensor:
        """The loss; arguments as in mmpretrain's losses.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C)``.
            label (Tensor): Labels ``(N, )`` or soft labels ``(N, C)``.
            weight (Tensor, optional): Weight of each row, shape ``(N, )``.
            avg_factor (float, optional): Divisor of ``'mean'``.
            reduction_override (str, optional): Instead of ``reduction``.

        Returns:
            Tensor: A scalar, or ``(N, )`` without reduction.

        Raises:
            RuntimeError: If there are no class counts.
            ValueError: See the function of the loss.
        """
        return self.loss_weight * self.loss(
            cls_score, label, weight=weight, reduction=reduction_override or self.reduction, avg_factor=avg_factor,
            ignore_index=self.ignore_index, check_target=self._checks_target(cls_score.device.type))

    def set_class_counts(self, record: ClassCounts) -> None:
        """Take the counts of the training set, unless the option ``class_counts`` was given.

        Args:
            record (ClassCounts): The record of the training set.

        Raises:
            ValueError: If a class has no images (see ``zero_count``), or the option has another number or other names
                of classes.
        """
        if self._vectors is not None and record is self.class_counts:
            return  # the hook hands over before each validation, too
        if not self._overridden:
            self._check_zero_counts(record)
            self.class_counts = record
        else:
            self.class_counts = given_counts(type(self).__name__, self._given, record)
        self._vectors = self.class_vectors(self.class_counts)

    def forget_class_vectors(self) -> None:
        """Have :meth:`class_vectors` called anew; ``StageHook`` does after it has set options, on which they depend."""
        self._vectors = None

    def vectors(self, like: Tensor) -> tuple[Tensor, ...]:
        """What :meth:`class_vectors` gave, on the device of a tensor.

        Args:
            like (Tensor): The logits.

        Returns:
            tuple[Tensor]: Vectors of shape ``(C, )``, float64.

        Raises:
            RuntimeError: If there are no class counts.
        """
        if self._vectors is None:
            if self.class_counts is None:
                raise RuntimeError(f'{type(self).__name__} has no class counts. Add the hook that takes them from the '
                                   f'training set to the config, `{HOOK_LINE}`, or give `class_counts` to the loss.')
            self._vectors = self.class_vectors(self.class_counts)
        if any(vector.device != like.device for vector in self._vectors):
            self._vectors = tuple(vector.to(like.device) for vector in self._vectors)
        return self._vectors

    def _checks_target(self, device: str) -> bool:
        """Whether to look at the labels of this batch; counts the batches.

        Args:
            device (str): Type of the device of the logits.

        Returns:
            bool: Always on a CPU, never while compiling, else for the first batches.
        """
        if _is_compiling():  # a counter that moves would have the network compiled anew for each batch
            return False
        if device == 'cpu':
            return True
        self._batches = min(self._batches + 1, self.CHECKED_BATCHES + 1)
        return self._batches <= self.CHECKED_BATCHES

    def _check_zero_counts(self, record: ClassCounts) -> None:
        empty = [record.classes[index] for index in record.zero_classes]
        if empty and (self.zero_count == 'error' or len(empty) == record.num_classes):
            raise ValueError(f'{type(self).__name__}: no training images for {len(empty)} of {record.num_classes} '
                             f"classes: {', '.join(empty[:10])}{', …' if len(empty) > 10 else ''}. "
                             f'{self.ZERO_COUNT_REASON}')

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return f'zero_count={self.zero_count!r}, ignore_index={self.ignore_index}, loss_weight={self.loss_weight}'
