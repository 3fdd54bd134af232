"""Gaussian clouded logit adjustment (GCL).

Li et al., Long-tailed Visual Recognition via Gaussian Clouded Logit Adjustment, CVPR 2022, arXiv:2305.11733: the logits
of rare classes are lowered by noise of a larger amplitude, which keeps their images from saturating the softmax. The
paper's noise has both signs; as in its code the absolute value is taken, clamped and halved.
"""
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...datasets.class_counts import ClassCounts
from .class_count_loss import ClassCountLoss
from .cosine_margin import check_cosine_predictor, lower_own_logit
from .label_cross_entropy import label_cross_entropy
from .labels import check_number

SIGMA = 1 / 3


def cloud_sizes(class_counts: Tensor | Sequence[float]) -> Tensor:
    r"""Amplitude of each class, :math:`\log(n_{max} / n_j) / \log(n_{max} / n_{min})`; 0 if all counts are equal.

    Args:
        class_counts (Tensor | Sequence[float]): Training images per class, all above 0, shape ``(C, )``.

    Returns:
        Tensor: In [0, 1], shape ``(C, )``, float64.
    """
    logs = torch.as_tensor(class_counts).double().log()
    size = logs.max() - logs
    return size / size.max() if size.max() > 0 else size


def gaussian_clouded_logit_loss(logits: Tensor,
                                target: Tensor,
                                sizes: Tensor,
                                noise: Tensor | None,
                                scale: float = 30.0,
                                noise_factor: float = 0.5,
                                margin: float = 0.0,
                                weight: Tensor | None = None,
                                reduction: str = 'mean',
                                avg_factor: float | None = None,
                                ignore_index: int = -100,
                                check_target: bool = True) -> Tensor:
    r"""Cross entropy of :math:`s (\cos_j - f |\epsilon_j| \delta_j - m [j = y])`, in at least float32.

    Args:
        logits (Tensor): :math:`s \cos_j`, shape ``(N, C)``.
        target (Tensor): Labels ``(N, )`` of an integer dtype, or soft labels ``(N, C)`` of a floating one.
        sizes (Tensor): :math:`\delta`, see :func:`cloud_sizes`, shape ``(C, )``.
        noise (Tensor, optional): Standard normal, shape ``(N, C)``: :math:`\epsilon` is a third of it, clamped to
            [-1, 1]. None: no clouds.
        scale (float): s. Defaults to 30.
        noise_factor (float): f. Defaults to 0.5.
        margin (float): m. Defaults to 0.
        weight (Tensor, optional): Weight of each row, shape ``(N, )``.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor (float, optional): Divisor of ``'mean'`` instead of the number of rows that are not ignored.
        ignore_index (int): Label of rows that count nothing. Defaults to -100.
        check_target (bool): Whether to look for labels out of range.

    Returns:
        Tensor: A scalar, or ``(N, )`` without reduction; float32, or float64 for float64 logits.

    Raises:
        ValueError: If shapes, labels or the reduction don't fit.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    if noise is not None and logits.dim() == 2 and logits.size(1) == len(sizes):  # else the shape is an error below
        with torch.autocast(logits.device.type, enabled=False):
            cloud = (SIGMA * noise.to(dtype)).clamp(-1, 1).abs() * sizes.to(device=logits.device, dtype=dtype)
            logits = logits.to(dtype) - scale * noise_factor * cloud

    def lower(z: Tensor, labels: Tensor) -> Tensor:
        return lower_own_logit(z, labels, z.new_full((len(z), ), scale * margin))

    return label_cross_entropy(
        'GCL', logits, target, len(sizes), lower if margin else None, weight=weight, reduction=reduction,
        avg_factor=avg_factor, ignore_index=ignore_index, check_target=check_target)


@MODELS.register_module()
class GaussianCloudedLogitLoss(ClassCountLoss):
    """GCL on a cosine classifier: stage 1. Stage 2 trains the classifier anew with balanced classes, by ``StageHook``.

    ::

        head=dict(predictor=dict(type='CosineLinear', scale=30), loss=dict(type='GaussianCloudedLogitLoss', scale=30))

    The noise comes from torch's generator of the device, in training only: in eval mode there is none. It does not go
    with logit rectification.

    Args:
        scale (float): s, that of the classifier. Defaults to 30.
        noise_factor (float): f, amplitude of the rarest class. Defaults to 0.5.
        margin (float): A margin of all classes alike, in units of the cosine. Defaults to 0.
        **kwargs: ``class_counts``, ``ignore_index``, ``reduction`` and ``loss_weight``, see :class:`ClassCountLoss`.

    Raises:
        ValueError: If an option is out of its range, or a class has no images.
    """
    ZERO_COUNT_REASON = 'Their cloud would be infinite. Leave such classes out of the data set, or correct ' \
                        '`class_counts`.'

    def __init__(self, scale: float = 30.0, noise_factor: float = 0.5, margin: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_number('GaussianCloudedLogitLoss', 'scale', scale, 0, above=True)
        check_number('GaussianCloudedLogitLoss', 'noise_factor', noise_factor, 0)
        check_number('GaussianCloudedLogitLoss', 'margin', margin, 0)
        self.scale = scale
        self.noise_factor = noise_factor
        self.margin = margin

    def class_vectors(self, record: ClassCounts) -> tuple[Tensor, ...]:
        """The cloud sizes."""
        return (cloud_sizes(record.images), )

    def check_predictor(self, predictor: nn.Module) -> None:
        """Raise if this loss can't stand on a predictor; heads call it. See :func:`check_cosine_predictor`."""
        check_cosine_predictor('GaussianCloudedLogitLoss', predictor, self.scale)

    def loss(self, cls_score: Tensor, label: Tensor, **common: Any) -> Tensor:
        """See :func:`gaussian_clouded_logit_loss`."""
        sizes, = self.vectors(cls_score)
        noise = torch.randn(cls_score.shape, device=cls_score.device) if self.training else None
        return gaussian_clouded_logit_loss(
            cls_score, label, sizes, noise, self.scale, self.noise_factor, self.margin, **common)

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return (f'scale={self.scale}, noise_factor={self.noise_factor}, margin={self.margin}, '
                f'{super().extra_repr()}')
