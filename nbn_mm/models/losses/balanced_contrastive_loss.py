"""Balanced contrastive learning.

Zhu et al., Balanced Contrastive Learning for Long-Tailed Visual Recognition, CVPR 2022, arXiv:2207.09052: a supervised
contrastive loss in which each class counts once in the denominator (class averaging) and each class is in every batch,
by a prototype of its own (class complement).
"""
import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .labels import check_number
from .reduction import check_reduction, weighted_reduction


class _GatherRows(torch.autograd.Function):
    """The rows of all ranks, one rank after another; each rank's gradient is the sum of the gradients of all."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size())[dist.get_rank()]


def _check(features: Tensor, label: Tensor, prototypes: Tensor | None, temperature: float) -> None:
    if features.dim() != 2 or label.shape != features.shape[:1] or label.is_floating_point():
        raise ValueError('balanced contrastive loss expects features (M, D) and integer labels (M, ), got '
                         f'{tuple(features.shape)} and {tuple(label.shape)} of {label.dtype}. Soft labels (mixup, '
                         'CutMix, CMO) have no contrastive form: remove the augmentation.')
    if not temperature > 0:
        raise ValueError(f'balanced contrastive loss: temperature={temperature!r} must be positive.')
    if prototypes is None:
        return
    if prototypes.dim() != 2 or prototypes.size(1) != features.size(1):
        raise ValueError(f'balanced contrastive loss: prototypes {tuple(prototypes.shape)} must be (C, D) with the '
                         f'D={features.size(1)} of the features.')
    if label.device.type == 'cpu' and len(label) and not 0 <= int(label.min()) <= int(label.max()) < len(prototypes):
        raise ValueError(f'balanced contrastive loss: labels from {int(label.min())} to {int(label.max())} for '
                         f'{len(prototypes)} prototypes. Check the labels of train_dataloader.dataset and '
                         '`head.num_classes`.')


def balanced_contrastive_loss(features: Tensor,
                              label: Tensor,
                              prototypes: Tensor | None = None,
                              temperature: float = 0.07,
                              class_average: bool = True,
                              reduction: str = 'mean',
                              gather: bool = False) -> Tensor:
    r"""The balanced contrastive loss of each feature, in at least float32.

    With B the features of the batch, :math:`B_j` those of class j, :math:`c_j` its prototype and i the feature itself,

    .. math::
        L_i = -\frac{1}{|P_y|} \sum_{p \in P_y} \log \frac{\exp(z_i \cdot z_p / \tau)}
              {\sum_j \frac{1}{|P_j|} \sum_{k \in P_j} \exp(z_i \cdot z_k / \tau)},
        \quad P_j = B_j \cup \{c_j\} \setminus \{i\}

    over all z of length 1, which this function gives them. The own class, too, is averaged over what is summed (the
    feature itself is left out of both), as in the authors' code.

    Args:
        features (Tensor): All views of the images of a batch, shape ``(M, D)``.
        label (Tensor): Labels, shape ``(M, )``.
        prototypes (Tensor, optional): One for each class, shape ``(C, D)``. None: no class complement; features
            without another one of their class then count nothing.
        temperature (float): :math:`\tau`. Defaults to 0.07.
        class_average (bool): Whether classes are averaged in the denominator. False: its sum runs over single
            features, as in supervised contrastive learning. Defaults to True.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        gather (bool): Whether to compare with the features of all ranks, gradients included; all ranks must have
            equally many. Defaults to False.

    Returns:
        Tensor: A scalar, or ``(M, )`` without reduction; float32, or float64 for float64 features.

    Raises:
        ValueError: If shapes, labels, the temperature or the reduction don't fit.
    """
    check_reduction('balanced contrastive loss', reduction, None)
    _check(features, label, prototypes, temperature)
    dtype = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        anchors = F.normalize(features.to(dtype), dim=1)
        keys, key_label, start = anchors, label, 0
        if gather and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            keys, key_label = _GatherRows.apply(anchors), _GatherRows.apply(label)
            start = dist.get_rank() * len(anchors)
        bank, bank_label = keys, key_label
        if prototypes is not None:
            bank = torch.cat([keys, F.normalize(prototypes.to(dtype), dim=1)])
            bank_label = torch.cat([key_label, torch.arange(len(prototypes), device=label.device)])
        logits = anchors @ bank.T / temperature
        rows = torch.arange(len(anchors), device=label.device)
        same = label[:, None] == bank_label
        others = logits.index_put((rows, start + rows), logits.new_full((), -torch.inf))
        if class_average:
            members = (bank_label[:, None] == key_label).sum(1) + (prototypes is not None)
            others = others - (members - same.to(members.dtype)).clamp(min=1).to(dtype).log()
        same[rows, start + rows] = False
        positives = same.sum(1)
        similarity = logits.masked_fill(~same, 0.).sum(1) / positives.clamp(min=1)
        # without prototypes a feature may have no partner, and one alone nothing to compare with
        alone = positives == 0
        loss = others.masked_fill(alone[:, None], 0.).logsumexp(1) - similarity
        loss = loss.masked_fill(alone, 0.)
        return weighted_reduction(loss, None, reduction, (~alone).sum().clamp(min=1))


@MODELS.register_module()
class BalancedContrastiveLoss(nn.Module):
    """The contrastive part of BCL, see :func:`balanced_contrastive_loss`; ``loss_weight`` is the paper's beta.

    Args:
        temperature (float): Defaults to 0.07.
        class_average (bool): Whether classes are averaged in the denominator. Defaults to True.
        class_complement (bool): Whether each class takes part by its prototype. Defaults to True.
        gather (bool): Whether to compare with the features of all ranks. Defaults to False: each rank has its own
            batch, and small batches per rank give few pairs.
        loss_weight (float): Factor. Defaults to 1.0.

    Raises:
        ValueError: If ``temperature`` is not positive.
    """

    def __init__(self,
                 temperature: float = 0.07,
                 class_average: bool = True,
                 class_complement: bool = True,
                 gather: bool = False,
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        check_number('BalancedContrastiveLoss', 'temperature', temperature, 0, above=True, field='head.contrast')
        self.temperature = temperature
        self.class_average = class_average
        self.class_complement = class_complement
        self.gather = gather
        self.loss_weight = loss_weight

    def forward(self, features: Tensor, label: Tensor, prototypes: Tensor | None = None) -> Tensor:
        """The mean loss.

        Args:
            features (Tensor): All views of the images of a batch, of any length, shape ``(M, D)``.
            label (Tensor): Labels, shape ``(M, )``.
            prototypes (Tensor, optional): Of any length, shape ``(C, D)``. Needed for the class complement.

        Returns:
            Tensor: A scalar.

        Raises:
            ValueError: See :func:`balanced_contrastive_loss`; and if the prototypes that the options ask for are
                missing, or there are some that they don't use.
        """
        if (prototypes is not None) != self.class_complement:
            raise ValueError(f'BalancedContrastiveLoss: class_complement={self.class_complement} '
                             f"{'needs' if self.class_complement else 'uses no'} prototypes.")
        return self.loss_weight * balanced_contrastive_loss(
            features, label, prototypes, self.temperature, self.class_average, gather=self.gather)

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return (f'temperature={self.temperature}, class_average={self.class_average}, '
                f'class_complement={self.class_complement}, gather={self.gather}, loss_weight={self.loss_weight}')
