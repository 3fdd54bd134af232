"""Distillation from a teacher's logits.

Hinton et al., Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531; in RIDE (Wang et al., ICLR 2021,
arXiv:2010.01809, section 3.4) from a teacher with more experts.
"""
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .labels import check_number


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Mean over images of :math:`T^2 KL(softmax(t / T) \| softmax(z / T))`, in at least float32.

    Args:
        logits (Tensor): z, shape ``(N, C)``.
        teacher_logits (Tensor): t, shape ``(N, C)``; no gradient goes through them.
        temperature (float): T. Defaults to 1.0.

    Returns:
        Tensor: A scalar.

    Raises:
        ValueError: If the shapes differ.
    """
    if logits.shape != teacher_logits.shape:
        raise ValueError(f'the teacher gives logits of shape {tuple(teacher_logits.shape)}, the student of '
                         f'{tuple(logits.shape)}: model.teacher.config must be a network of the same classes.')
    dtype = torch.promote_types(logits.dtype, torch.float32)
    with torch.autocast(logits.device.type, enabled=False):
        own = F.log_softmax(logits.to(dtype) / temperature, dim=1)
        target = F.log_softmax(teacher_logits.detach().to(dtype) / temperature, dim=1)
        return temperature**2 * (target.exp() * (target - own)).sum() / max(len(logits), 1)


@MODELS.register_module()
class DistillationLoss(nn.Module):
    """:func:`distillation_loss` as ``head.distillation`` of a ``DistilledClassifier``.

    Args:
        temperature (float): T, above 0. Defaults to 1.5, RIDE's.
        loss_weight (float): Factor. Defaults to 1.0.

    Raises:
        ValueError: If ``temperature`` is not above 0.
    """

    def __init__(self, temperature: float = 1.5, loss_weight: float = 1.0) -> None:
        super().__init__()
        check_number('DistillationLoss', 'temperature', temperature, 0, above=True, field='head.distillation')
        self.temperature = temperature
        self.loss_weight = loss_weight

    def forward(self, cls_score: Tensor, teacher_logits: Tensor) -> Tensor:
        """The loss of logits and a teacher's logits, each ``(N, C)``."""
        return self.loss_weight * distillation_loss(cls_score, teacher_logits, self.temperature)
