"""Loss of several experts: one loss an expert, and a term that drives their distributions apart.

Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts (RIDE), ICLR 2021, arXiv:2010.01809,
section 3.2. The paper's diversity (equation 2) is the mean divergence from each other expert; as in the published code
it is taken from the softmax of the experts' mean logits, which costs E instead of E * (E - 1) divergences.
"""
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from ...datasets.class_counts import ClassCounts
from .class_count_loss import ClassCountLoss
from .labels import check_fraction, check_number
from .reduction import check_reduction, weighted_reduction


def expert_divergence(logits: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    r"""Divergence of each expert's distribution from that of the mean logits, in at least float32.

    :math:`KL(p \| q_k)` with :math:`q_k = softmax(z_k / T)` and :math:`p = softmax(\bar z / T)`, through which no
    gradient goes.

    Args:
        logits (Tensor): Of E experts, shape ``(N, E, C)``.
        temperature (Tensor | float): T, one number or one a class, shape ``(C, )``.

    Returns:
        Tensor: Shape ``(N, E)``.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.to(dtype)
        mean = F.log_softmax(logits.detach().mean(1, keepdim=True) / temperature, dim=2)
        return (mean.exp() * (mean - F.log_softmax(logits / temperature, dim=2))).sum(2)


def temperature_weights(class_counts: Sequence[float] | Tensor, factor: float) -> Tensor:
    r"""What the temperature of each class is multiplied by under deferred re-weighting.

    :math:`C p_j f + 1 - f` divided by its maximum, with the class's share p of the training set: the tail's logits
    count more in the divergence.

    Args:
        class_counts (Sequence[float] | Tensor): Training images per class, shape ``(C, )``.
        factor (float): f, from 0 (all classes alike) to below 1.

    Returns:
        Tensor: Shape ``(C, )``, float64, in (0, 1].
    """
    counts = torch.as_tensor(class_counts).double()
    weights = len(counts) * counts / counts.sum() * factor + 1 - factor
    return weights / weights.max()


@MODELS.register_module()
class RIDELoss(ClassCountLoss):
    r"""Sum over experts of a loss of the expert's own logits and of a diversity term.

    .. math:: L = \sum_k L_{base}(z_k, y) + \lambda \bar T^2 KL(p \| q_k)

    Two forms::

        # RIDE's own, over CosineLinear(scale=30); StageHook's reweight=True turns on both re-weightings
        loss=dict(type='RIDELoss', base=dict(type='LDAMLoss', scale=30), diversity_factor=-0.45)
        # that of the published NBN code, over linear or rectified predictors
        loss=dict(type='RIDELoss', base=dict(type='BalancedSoftmaxLoss'), diversity_factor=-0.2)

    Under re-weighting (:meth:`set_reweighting`) the base loss weighs classes as it says itself, and the temperature of
    the diversity term becomes one a class (:func:`temperature_weights`), :math:`\bar T` its mean.

    Args:
        base (dict): The loss of one expert, any loss of logits ``(N, C)``.
        diversity_factor (float): :math:`\lambda`, at most 0. Defaults to -0.2.
        temperature (float): T of the diversity term. Defaults to 1.0.
        reweight_factor (float): f of :func:`temperature_weights`, from 0 to below 1. Defaults to 0.05.
        class_counts (list[int] | str, optional): Training images per class or a JSON file, instead of the hook's.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. Defaults to ``'mean'``.
        loss_weight (float): Factor. Defaults to 1.0.

    Raises:
        ValueError: If an option is out of its range.
    """
    # For the head: it takes the logits of all experts.
    takes_experts = True
    CAN_IGNORE_ZERO_COUNT = True

    def __init__(self, base: dict[str, Any], diversity_factor: float = -0.2, temperature: float = 1.0,
                 reweight_factor: float = 0.05, class_counts: Sequence[int] | str | None = None,
                 reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        # A class without images is the business of the base loss: this one takes no logarithm of a count.
        super().__init__(class_counts=class_counts, zero_count='ignore', reduction=reduction, loss_weight=loss_weight)
        if not diversity_factor <= 0:
            raise ValueError(f'RIDELoss: diversity_factor={diversity_factor!r} must be at most 0: a positive one makes '
                             'the experts alike. Change `head.loss.diversity_factor`.')
        check_number('RIDELoss', 'temperature', temperature, 0, above=True)
        check_fraction('RIDELoss', 'reweight_factor', reweight_factor, one=False)
        self.base = MODELS.build(base)
        self.diversity_factor = diversity_factor
        self.temperature = temperature
        self.reweight_factor = reweight_factor
        self.reweighting = False

    def class_vectors(self, record: ClassCounts) -> tuple[Tensor]:
        """The factors of the temperature."""
        return (temperature_weights(record.images, self.reweight_factor), )

    def set_reweighting(self, enabled: bool) -> None:
        """Turn the temperatures by class on or off; ``StageHook`` calls this, for ``base`` as well.

        Args:
            enabled (bool): Whether they are on.
        """
        self.reweighting = bool(enabled)

    def class_temperature(self, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Temperature of the diversity term and its mean over classes.

        Args:
            like (Tensor): Gives device and number of classes, shape ``(N, E, C)``.

        Raises:
            RuntimeError: If re-weighting is on without class counts.
            ValueError: If there are counts of another number of classes.
        """
        if not self.reweighting:
            return self.temperature, self.temperature
        weights, = self.vectors(like)
        if len(weights) != like.size(-1):
            raise ValueError(f'RIDELoss got {like.size(-1)} logits, but class counts of {len(weights)} classes. Change '
                             '`head.num_classes` or `class_counts`.')
        temperature = self.temperature * weights.to(torch.promote_types(like.dtype, torch.float32))
        return temperature, temperature.mean()

    def forward(self, cls_score: Tensor, label: Tensor, weight: Tensor | None = None, avg_factor: float | None = None,
                reduction_override: str | None = None) -> Tensor:
        """The loss; arguments as in mmpretrain's losses.

        Args:
            cls_score (Tensor): Logits of E experts, shape ``(N, E, C)``.
            label (Tensor): Labels ``(N, )``, or soft labels ``(N, C)`` if ``base`` takes them.
            weight (Tensor, optional): Weight of each row, shape ``(N, )``.
            avg_factor (float, optional): Divisor of ``'mean'``.
            reduction_override (str, optional): Instead of ``reduction``.

        Returns:
            Tensor: A scalar, or ``(N, )`` without reduction.

        Raises:
            ValueError: If the logits have another shape, or the reduction is unknown.
            RuntimeError: See :meth:`class_temperature`.
        """
        if cls_score.dim() != 3:
            raise ValueError(f'RIDELoss expects logits (N, E, C) of E experts, got shape {tuple(cls_score.shape)}. Use '
                             "it in head=dict(type='MultiExpertClsHead').")
        reduction = reduction_override or self.reduction
        check_reduction('RIDELoss', reduction, avg_factor)
        total = sum(self.base(logits, label, weight=weight, avg_factor=avg_factor, reduction_override=reduction)
                    for logits in cls_score.unbind(1))
        if self.diversity_factor:
            temperature, mean = self.class_temperature(cls_score)
            divergence = expert_divergence(cls_score, temperature).sum(1)
            rows = max(len(cls_score), 1) if avg_factor is None else avg_factor
            total = total + self.diversity_factor * mean**2 * weighted_reduction(divergence, weight, reduction, rows)
        return self.loss_weight * total

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return (f'diversity_factor={self.diversity_factor}, temperature={self.temperature}, '
                f'reweight_factor={self.reweight_factor}, loss_weight={self.loss_weight}')
