"""Equalization Loss v2 (EQLv2) that infers as it was trained.

Tan et al., Equalization Loss v2: A New Gradient Balance Approach for Long-Tailed Object Detection, CVPR 2021,
arXiv:2012.08548. The loss and its gradient statistics are mmdet's ``EQLV2Loss``, which mmdet's box heads don't
recognise as a sigmoid loss: they apply a softmax at test.
"""
from typing import Any

import torch
import torch.distributed as dist
from mmdet.models.losses import EQLV2Loss, accuracy
from mmdet.registry import MODELS
from torch import Tensor

from ..losses.equalization_loss import prior_logit, shifted


@MODELS.register_module()
class EqualizationV2Loss(EQLV2Loss):
    """EQLv2 as ``loss_cls`` of mmdet's box heads: C + 1 outputs, the last one "this is background".

    Inference scores are ``sigmoid(z_j) * (1 - sigmoid(z_background))``. Unlike the host's class it also

    - weighs proposals by ``label_weights`` (the host's ``train_cfg.rcnn.pos_weight``) and divides by ``avg_factor``;
    - gives 0, not NaN, without proposals;
    - sums its statistics over the ranks by default, as published, and needs no process group for one process;
    - computes in at least float32;
    - refuses the options that the host takes and ignores.

    Args:
        num_classes (int): Number of classes C, that of the box head. Defaults to 1203.
        use_distributed (bool): Whether gradient statistics are summed over the ranks, which all must then have
            proposals in each iteration. False: each rank has its own, and a checkpoint keeps those of rank 0.
            Defaults to True.
        prior_prob (float, optional): See :class:`EqualizationLoss`. Defaults to None, the host's start.
        **kwargs: ``gamma``, ``mu``, ``alpha``, ``loss_weight`` and ``test_with_obj`` of the host's loss.

    Raises:
        ValueError: If an option has no effect in the host's loss, or sizes don't fit.
    """
    # What the host's box heads ask for.
    custom_cls_channels = True
    custom_activation = True
    custom_accuracy = True

    def __init__(self,
                 num_classes: int = 1203,
                 use_distributed: bool = True,
                 prior_prob: float | None = None,
                 **kwargs: Any) -> None:
        for name, value in (('use_sigmoid', True), ('reduction', 'mean'), ('class_weight', None), ('vis_grad', False)):
            if kwargs.get(name, value) != value:
                raise ValueError(f'EqualizationV2Loss: {name}={kwargs[name]!r} would have no effect. Remove '
                                 f'`loss_cls.{name}`.')
        super().__init__(num_classes=num_classes, use_distributed=use_distributed, **kwargs)
        self.shift = prior_logit(prior_prob)
        self._proposal_weight: Tensor | None = None

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: str | None = None) -> Tensor:
        """The loss; arguments as in mmdet's losses.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C + 1)``.
            label (Tensor): Shape ``(N, )``; C is background.
            weight (Tensor, optional): Weight of each proposal, shape ``(N, )``; it enters the statistics too.
            avg_factor (float, optional): Divisor instead of N.
            reduction_override (str, optional): None or ``'mean'``.

        Returns:
            Tensor: A scalar.

        Raises:
            ValueError: If there are not C + 1 logits, or another reduction is asked for.
        """
        if reduction_override not in (None, 'mean'):
            raise ValueError(f'EqualizationV2Loss: reduction_override={reduction_override!r}, but the loss is a mean '
                             'over the proposals. It does not go with OHEMSampler: change train_cfg.rcnn.sampler.')
        if cls_score.dim() != 2 or cls_score.size(1) != self.num_classes + 1:
            raise ValueError(f'EqualizationV2Loss has the gradient statistics of num_classes={self.num_classes} and '
                             f'expects logits (N, {self.num_classes + 1}), got {tuple(cls_score.shape)}. Change '
                             '`loss_cls.num_classes` or `bbox_head.num_classes`.')
        self._proposal_weight = weight
        with torch.autocast(cls_score.device.type, enabled=False):
            # without proposals too: all ranks must take part in the sums
            loss = super().forward(shifted(cls_score, self.shift), label)
        # kept by the host for nothing: they would hold the graph, and prevent copies of the model
        self.gt_classes = self.pred_class_logits = self._proposal_weight = None
        rows = len(cls_score)
        if rows == 0:
            return cls_score.sum()
        return loss if avg_factor is None else loss * (rows / avg_factor)

    def get_weight(self, pred: Tensor) -> tuple[Tensor, Tensor]:
        """The host's weights of positive and negative entries, times those of the proposals.

        Args:
            pred (Tensor): Logits, shape ``(N, C + 1)``.

        Returns:
            tuple[Tensor, Tensor]: Each ``(N, C + 1)``.
        """
        positive, negative = super().get_weight(pred)
        if self._proposal_weight is None:
            return positive, negative
        rows = self._proposal_weight.to(pred.dtype)[:, None]
        return positive * rows, negative * rows

    @property
    def use_distributed(self) -> bool:
        """Whether the host's code may sum over the ranks: it was asked for, and there are several."""
        return self._summed and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1

    @use_distributed.setter
    def use_distributed(self, value: bool) -> None:
        self._summed = value

    def get_cls_channels(self, num_classes: int) -> int:
        """Outputs of the classifier.

        Args:
            num_classes (int): That of the box head.

        Returns:
            int: C + 1.

        Raises:
            ValueError: If it is not that of the loss, whose statistics would not fit.
        """
        if num_classes != self.num_classes:
            raise ValueError(f'bbox_head.num_classes={num_classes}, but loss_cls.num_classes={self.num_classes} in '
                             'EqualizationV2Loss. They must be equal.')
        return num_classes + 1

    def get_activation(self, pred: Tensor) -> Tensor:
        """Inference scores ``sigmoid(z_j) * (1 - sigmoid(z_background))``, and ``sigmoid(z_background)``.

        Args:
            pred (Tensor): Logits, shape ``(N, C + 1)``.

        Returns:
            Tensor: Shape ``(N, C + 1)``.
        """
        return super().get_activation(shifted(pred, self.shift))

    def get_accuracy(self, cls_score: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Accuracy of the classes over the foreground proposals, and of background against foreground over all.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C + 1)``.
            labels (Tensor): Shape ``(N, )``; C is background.

        Returns:
            dict[str, Tensor]: ``acc_classes`` and ``acc_objectness`` in percent.
        """
        foreground = labels < self.num_classes
        background = cls_score[:, -1] + self.shift > 0
        hits = (background != foreground).to(cls_score)
        return dict(
            acc_classes=accuracy(cls_score[foreground, :-1], labels[foreground]),
            acc_objectness=100 * hits.sum() / max(len(hits), 1))
