"""Logit-adjusted softmax cross entropy.

Menon et al., Long-tail Learning via Logit Adjustment, ICLR 2021, arXiv:2007.07314, equation 10. With a temperature of 1
it is Balanced Softmax.
"""
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from ...datasets.class_counts import ClassCounts
from .balanced_softmax_loss import BalancedSoftmaxLoss, balanced_softmax_loss, log_class_prior
from .labels import check_number


def logit_adjustment_loss(logits: Tensor, target: Tensor, class_counts: Any, tau: float = 1.0,
                          **kwargs: Any) -> Tensor:
    r"""Cross entropy of :math:`z_j + \tau \log \pi_j`, in at least float32; :math:`\pi` are the shares of the classes.

    Args:
        logits (Tensor): Shape ``(N, C)``.
        target (Tensor): Labels ``(N, )`` of an integer dtype, or soft labels ``(N, C)`` of a floating one.
        class_counts (Tensor | Sequence[float]): Training images per class, shape ``(C, )``.
        tau (float): :math:`\tau`. Defaults to 1.
        **kwargs: As of :func:`balanced_softmax_loss`.

    Returns:
        Tensor: A scalar, or ``(N, )`` without reduction.

    Raises:
        ValueError: See :func:`balanced_softmax_loss`.
    """
    return balanced_softmax_loss(logits, target, class_counts, log_prior=adjustment(class_counts, tau), **kwargs)


def adjustment(class_counts: Any, tau: float) -> Tensor:
    r""":math:`\tau \log \pi_j`, shape ``(C, )``, float64; a class without images stays at -inf for any :math:`\tau`."""
    prior = log_class_prior(class_counts)
    return prior.where(torch.isneginf(prior), tau * prior)


@MODELS.register_module()
class LogitAdjustmentLoss(BalancedSoftmaxLoss):
    """Logit adjustment in training (LA) on the class counts of ``ClassCountsHook``.

    Args:
        tau (float): 0 is cross entropy, 1 Balanced Softmax. Defaults to 1.
        **kwargs: See :class:`BalancedSoftmaxLoss`.

    Raises:
        ValueError: If tau is negative, or see :class:`BalancedSoftmaxLoss`.
    """

    def __init__(self, tau: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_number('LogitAdjustmentLoss', 'tau', tau, 0)
        self.tau = tau

    def class_vectors(self, record: ClassCounts) -> tuple[Tensor, ...]:
        """The adjustment of each class, see :func:`adjustment`."""
        return (adjustment(record.images, self.tau), )

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return f'tau={self.tau}, {super().extra_repr()}'
