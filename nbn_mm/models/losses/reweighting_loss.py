"""Base of losses that can weigh classes by the inverse of their effective number of images, from the start or later."""
from typing import Any

from torch import Tensor

from ...datasets.class_counts import ClassCounts
from .class_count_loss import ClassCountLoss
from .effective_number import effective_number_weights
from .label_cross_entropy import AVERAGES
from .labels import check_fraction


class ReweightingLoss(ClassCountLoss):
    """A loss with :meth:`set_reweighting`, which ``StageHook`` calls for deferred re-weighting (DRW).

    DRW: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019,
    arXiv:1906.07413, algorithm 1: all classes count alike until the learning rate falls, then by
    :func:`effective_number_weights`::

        default_hooks = dict(stage=dict(type='StageHook', stages=[dict(begin=160, reweight=True)]))

    Args:
        beta (float): Of the effective number, from 0 to below 1. Defaults to 0.9999.
        average (str): ``'rows'``, or ``'weights'``: weights of a batch are scaled to a mean of 1.
        deferred (bool): Whether classes count alike until :meth:`set_reweighting`.
        **kwargs: See :class:`ClassCountLoss`.

    Raises:
        ValueError: If an option is out of its range, or a class has no images.
    """
    ZERO_COUNT_REASON = 'Their weight is not finite. Leave such classes out of the data set, or correct `class_counts`.'

    def __init__(self, beta: float, average: str, deferred: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_fraction(type(self).__name__, 'beta', beta, one=False)
        if average not in AVERAGES:
            raise ValueError(f'{type(self).__name__}: average={average!r} must be one of {AVERAGES}; change '
                             '`head.loss.average`.')
        self.beta = beta
        self.average = average
        self.reweighting = not deferred

    def set_reweighting(self, enabled: bool) -> None:
        """Weigh classes, or count them alike.

        Args:
            enabled (bool): Whether to weigh.
        """
        self.reweighting = bool(enabled)

    def class_weights(self, record: ClassCounts) -> Tensor:
        """The weights that :meth:`set_reweighting` turns on.

        Args:
            record (ClassCounts): The counts.

        Returns:
            Tensor: Shape ``(C, )``, float64, with a sum of C.
        """
        return effective_number_weights(record.images, self.beta)

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return f'{super().extra_repr()}, beta={self.beta}, average={self.average!r}, reweighting={self.reweighting}'
