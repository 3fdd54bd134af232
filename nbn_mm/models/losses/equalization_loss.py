"""Equalization Loss (EQL), the sigmoid form for detection.

Tan et al., Equalization Loss for Long-Tailed Object Recognition, CVPR 2020, arXiv:2003.05176: a proposal of one class
does not push down the scores of rare classes; a background proposal pushes down all of them.
"""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...datasets.class_counts import ClassCounts, parse_class_counts
from .class_count_loss import HOOK_LINE, given_counts
from .reduction import check_reduction, weighted_reduction


def prior_logit(prior_prob: float | None) -> float:
    """The logit of a prior probability: where sigmoid classifiers start (Lin et al., arXiv:1708.02002, section 3.3).

    Args:
        prior_prob (float, optional): In (0, 1); None: no prior.

    Returns:
        float: ``log(p / (1 - p))``, 0 without a prior.

    Raises:
        ValueError: If it is out of its range.
    """
    if prior_prob is None:
        return 0.0
    if not 0 < prior_prob < 1:
        raise ValueError(f'prior_prob={prior_prob!r} must lie between 0 and 1; change `loss_cls.prior_prob`.')
    return math.log(prior_prob / (1 - prior_prob))


def shifted(logits: Tensor, shift: float) -> Tensor:
    """Logits plus a constant, in at least float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)) + shift


def equalization_loss(cls_score: Tensor,
                      label: Tensor,
                      rare: Tensor,
                      weight: Tensor | None = None,
                      reduction: str = 'mean',
                      avg_factor: float | None = None) -> Tensor:
    r"""Binary cross-entropy, summed over the classes with :math:`w_j = 1 - E(r)\,T_\lambda(f_j)\,(1 - y_j)` (eq. 4).

    ``E(r)`` is 1 for a foreground proposal and 0 for background; ``T`` is 1 for a rare class. Computed in at least
    float32.

    Args:
        cls_score (Tensor): Logits of the C classes, shape ``(N, C)``; background has none.
        label (Tensor): Shape ``(N, )``; C is background.
        rare (Tensor): Bool, shape ``(C, )``: :math:`T_\lambda(f_j)`.
        weight (Tensor, optional): Weight of each proposal, shape ``(N, )``.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. ``'mean'`` divides by N.
        avg_factor (float, optional): Divisor of ``'mean'`` instead of N.

    Returns:
        Tensor: A scalar, or ``(N, )`` without reduction; float32, or float64 for float64 logits.

    Raises:
        ValueError: If shapes, labels (on CPU) or the reduction don't fit.
    """
    check_reduction('EQL', reduction, avg_factor)
    num_classes = len(rare)
    if cls_score.dim() != 2 or cls_score.size(1) != num_classes or label.shape != cls_score.shape[:1]:
        raise ValueError(f'EQL of {num_classes} classes expects logits (N, {num_classes}), background having none, and '
                         f'labels (N, ), got {tuple(cls_score.shape)} and {tuple(label.shape)}. Change '
                         '`bbox_head.num_classes` or `loss_cls.num_classes`.')
    # Elsewhere looking at the labels would wait for the device; ClassCountsHook checks those of the data set.
    if label.device.type == 'cpu' and ((label < 0) | (label > num_classes)).any():
        raise ValueError(f'EQL: labels from {int(label.min())} to {int(label.max())}, but there are {num_classes} '
                         f'classes (0 … {num_classes - 1}) and background ({num_classes}). Check '
                         'train_dataloader.dataset and `bbox_head.num_classes`.')
    with torch.autocast(cls_score.device.type, enabled=False):
        logits = cls_score.to(torch.promote_types(cls_score.dtype, torch.float32))
        target = F.one_hot(label.long(), num_classes + 1)[:, :-1].to(logits.dtype)
        foreground = target.sum(1, keepdim=True)
        keep = 1 - foreground * rare.to(logits) * (1 - target)
        loss = (F.binary_cross_entropy_with_logits(logits, target, reduction='none') * keep).sum(1)
        return weighted_reduction(loss, weight, reduction, max(len(loss), 1) if avg_factor is None else avg_factor)


@MODELS.register_module()
class EqualizationLoss(nn.Module):
    """EQL as ``loss_cls`` of mmdet's box heads: C outputs, sigmoid, no background score.

    The frequency of a class is its share of the training images that hold an object, as published. Inference scores are
    the sigmoids of the classes and 0 for background.

    Args:
        num_classes (int): Number of classes C, that of the box head.
        threshold (float): λ: classes with a frequency below it are rare. The published values are 0.0011 (LVIS v1) and
            0.00177 (LVIS v0.5). Defaults to 0.0011.
        class_counts (list[int] | str, optional): Training images per class, or a JSON file with them; used instead of
            those of ``ClassCountsHook``.
        num_images (int, optional): Training images that hold an object (99,388 in LVIS v1), for a ``class_counts``
            that is a list; those of the hook come with it.
        prior_prob (float, optional): Shifts all logits by the logit of this probability, in training and at test: as
            if the biases started there (the published code: 0.001). Unlike a bias it survives NormedLinear's own
            initialisation and logit rectification. Defaults to None: no shift.
        loss_weight (float): Factor. Defaults to 1.0.

    Raises:
        ValueError: If an option is out of its range.
    """
    # What mmdet's box heads ask for.
    custom_cls_channels = True
    custom_activation = True
    custom_accuracy = True
    # Needs no counts at test, where there is no loss.
    class_counts_at_test = False

    def __init__(self,
                 num_classes: int,
                 threshold: float = 0.0011,
                 class_counts: Sequence[int] | str | None = None,
                 num_images: int | None = None,
                 prior_prob: float | None = None,
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f'EqualizationLoss: threshold={threshold} is a share of images, between 0 and 1; change '
                             '`loss_cls.threshold`.')
        self.num_classes = num_classes
        self.threshold = threshold
        self.num_images = num_images
        self.shift = prior_logit(prior_prob)
        self.loss_weight = loss_weight
        # No buffer: mmengine's averaged models pair buffers by order.
        self._rare: Tensor | None = None
        self._given = class_counts
        self._overridden = class_counts is not None
        if self._overridden:
            self._set(parse_class_counts(class_counts, num_classes, field='`class_counts` of EqualizationLoss'))

    def set_class_counts(self, record: ClassCounts) -> None:
        """Take the counts of the training set, unless the option ``class_counts`` was given.

        Args:
            record (ClassCounts): The record of the training set.

        Raises:
            ValueError: If it has another number of classes, or the number of images is unknown.
        """
        if record.num_classes != self.num_classes:
            raise ValueError(f'EqualizationLoss has num_classes={self.num_classes}, but the training set has '
                             f'{record.num_classes} classes. Change `loss_cls.num_classes`.')
        self._set(given_counts('EqualizationLoss', self._given, record) if self._overridden else record)

    def _set(self, record: ClassCounts) -> None:
        num_images = record.num_images if self.num_images is None else self.num_images
        if num_images is None:
            raise ValueError('EqualizationLoss: a frequency is a share of the training images, and these class counts '
                             'come without the number of images. Set `loss_cls.num_images`.')
        if num_images < max(record.images) or num_images < 1:
            raise ValueError(f'EqualizationLoss: num_images={num_images} is less than the {max(record.images)} images '
                             'of the largest class. Change `loss_cls.num_images`.')
        self._rare = torch.tensor([count / num_images < self.threshold for count in record.images])
        print_log(f'EqualizationLoss: {int(self._rare.sum())} of {self.num_classes} classes are in less than '
                  f'{self.threshold:g} of {num_images} images and are not pushed down by other classes.', 'current')

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: str | None = None) -> Tensor:
        """The loss; arguments as in mmdet's losses.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C)``.
            label (Tensor): Shape ``(N, )``; C is background.
            weight (Tensor, optional): Weight of each proposal, shape ``(N, )``.
            avg_factor (float, optional): Divisor instead of N.
            reduction_override (str, optional): Instead of ``'mean'``.

        Returns:
            Tensor: A scalar, or ``(N, )`` without reduction.

        Raises:
            RuntimeError: If there are no class counts.
            ValueError: See :func:`equalization_loss`.
        """
        if self._rare is None:
            raise RuntimeError('EqualizationLoss has no class counts. Add the hook that takes them from the training '
                               f'set to the config, `{HOOK_LINE}`, or give `class_counts` to the loss.')
        self._rare = self._rare.to(cls_score.device)
        return self.loss_weight * equalization_loss(shifted(cls_score, self.shift), label, self._rare, weight,
                                                    reduction_override or 'mean', avg_factor)

    def get_cls_channels(self, num_classes: int) -> int:
        """Outputs of the classifier.

        Args:
            num_classes (int): That of the box head.

        Returns:
            int: C.

        Raises:
            ValueError: If it is not that of the loss.
        """
        if num_classes != self.num_classes:
            raise ValueError(f'bbox_head.num_classes={num_classes}, but loss_cls.num_classes={self.num_classes} in '
                             'EqualizationLoss. They must be equal.')
        return num_classes

    def get_activation(self, cls_score: Tensor) -> Tensor:
        """Inference scores: sigmoid for the classes, 0 for background.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C)``.

        Returns:
            Tensor: Shape ``(N, C + 1)``.
        """
        return F.pad(torch.sigmoid(shifted(cls_score, self.shift)), (0, 1))

    def get_accuracy(self, cls_score: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Share of the foreground proposals whose highest class is theirs.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C)``.
            label (Tensor): Shape ``(N, )``; C is background.

        Returns:
            dict[str, Tensor]: ``acc_classes`` in percent, 0 without foreground.
        """
        foreground = label < self.num_classes
        hits = (cls_score.argmax(1) == label) & foreground
        return dict(acc_classes=100 * hits.sum() / foreground.sum().clamp(min=1))

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return f'num_classes={self.num_classes}, threshold={self.threshold}, loss_weight={self.loss_weight}'
