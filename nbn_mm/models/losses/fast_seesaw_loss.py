"""Seesaw loss of box heads, whose time does not depend on how many classes a batch holds.

Wang et al., Seesaw Loss for Long-Tailed Instance Segmentation, CVPR 2021, arXiv:2008.10032. Values, gradients and
counts are those of mmdet's ``SeesawLoss``, which waits for the device once for each class in the batch and computes a
matrix of C x C ratios.
"""
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .reduction import check_reduction, weighted_reduction
from .seesaw import SplitScores, check_seesaw, count_labels, seesaw_cross_entropy

# mmdet's losses add it to avg_factor, so that 0 / 0 is 0.
AVG_FACTOR_EPS = torch.finfo(torch.float32).eps


@MODELS.register_module()
class FastSeesawLoss(nn.Module):
    """Seesaw as ``loss_cls`` of mmdet's box heads: C classes, and two outputs for object or background.

    A drop-in for mmdet's ``SeesawLoss``: the same options, state-dict key (``cum_samples``), values and hooks of the
    box heads. It waits for the device once a call. What differs, in edges where the host fails:

    - without proposals and without ``avg_factor`` the losses are 0 (the host: NaN);
    - ``reduction='none'`` with ``return_dict=False`` gives the N sums (the host adds N to P numbers);
    - a label out of range is an error that says so, before it is counted (on a CPU);
    - half-precision logits are computed in float32 also without autocast, and a factor that would overflow is not.

    Args:
        use_sigmoid (bool): Only False. Defaults to False.
        p (float): Exponent of the mitigation factor. Defaults to 0.8.
        q (float): Exponent of the compensation factor. Defaults to 2.0.
        num_classes (int): Number of classes C, that of the box head. Defaults to 1203.
        eps (float): Least score of the own class in the compensation factor. Defaults to 1e-2.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. Defaults to ``'mean'``.
        loss_weight (float): Factor. Defaults to 1.0.
        return_dict (bool): Whether the two losses are returned by name or as their sum. Defaults to True.
        sync_counts (bool): Whether the counts are those of all ranks, which must then all compute the loss in each
            iteration. False: each rank has its own, as in the host, and a checkpoint keeps those of rank 0. Defaults
            to False.

    Raises:
        ValueError: If an option is out of its range.
    """
    # What mmdet's box heads ask for.
    custom_cls_channels = True
    custom_activation = True
    custom_accuracy = True

    def __init__(self,
                 use_sigmoid: bool = False,
                 p: float = 0.8,
                 q: float = 2.0,
                 num_classes: int = 1203,
                 eps: float = 1e-2,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0,
                 return_dict: bool = True,
                 sync_counts: bool = False) -> None:
        super().__init__()
        check_seesaw('FastSeesawLoss', use_sigmoid, p, q, eps)
        check_reduction('FastSeesawLoss', reduction, None)
        self.use_sigmoid = False
        self.p = p
        self.q = q
        self.num_classes = num_classes
        self.eps = eps
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.return_dict = return_dict
        self.sync_counts = sync_counts
        self.register_buffer('cum_samples', torch.zeros(num_classes + 1))

    def forward(self,
                cls_score: Tensor,
                labels: Tensor,
                label_weights: Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: str | None = None) -> Tensor | dict[str, Tensor]:
        """The loss, after the labels are counted; arguments as in mmdet's losses.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C + 2)``; the last two are object and background.
            labels (Tensor): Shape ``(N, )``; C is background.
            label_weights (Tensor, optional): Weight of each proposal, shape ``(N, )``.
            avg_factor (float, optional): Divisor of ``'mean'`` instead of N (objectness) and of the number P of
                foreground proposals (classes).
            reduction_override (str, optional): Instead of ``reduction``.

        Returns:
            Tensor | dict[str, Tensor]: ``loss_cls_objectness`` and ``loss_cls_classes``, or their sum. Without
            reduction they have the shapes ``(N, )`` and ``(P, )``, and the sum ``(N, )``.

        Raises:
            ValueError: If shapes, labels (on CPU) or the reduction don't fit.
        """
        reduction = reduction_override or self.reduction
        check_reduction('FastSeesawLoss', reduction, avg_factor)
        self._check_width(cls_score)
        if labels.shape != cls_score.shape[:1]:
            raise ValueError(f'FastSeesawLoss expects labels (N, ) for logits (N, {self.num_classes + 2}), got '
                             f'{tuple(labels.shape)} and {tuple(cls_score.shape)}.')
        self.cum_samples += count_labels(labels, self.num_classes + 1, self.sync_counts)
        rows = (labels < self.num_classes).nonzero().squeeze(1)  # the one wait for the device
        classes, objectness = SplitScores.apply(cls_score, rows)

        def reduced(loss: Tensor, weight: Tensor | None) -> Tensor:
            divisor = max(len(loss), 1) if avg_factor is None else avg_factor + AVG_FACTOR_EPS
            return self.loss_weight * weighted_reduction(loss, weight, reduction, divisor)

        if len(rows):
            loss = seesaw_cross_entropy(classes, labels[rows], self.cum_samples[:-1], self.p, self.q, self.eps)
            loss_classes = reduced(loss, None if label_weights is None else label_weights[rows])
        else:
            loss_classes = classes.sum()  # 0, without reduction too: the mean of nothing would be NaN
        objectness = objectness.to(torch.promote_types(objectness.dtype, torch.float32))
        background = (labels == self.num_classes).long()
        loss_objectness = reduced(F.cross_entropy(objectness, background, reduction='none'), label_weights)
        if self.return_dict:
            return dict(loss_cls_objectness=loss_objectness, loss_cls_classes=loss_classes)
        if reduction == 'none' and len(rows):
            return loss_objectness.index_add(0, rows, loss_classes)
        return loss_objectness + loss_classes

    def _check_width(self, cls_score: Tensor) -> None:
        if cls_score.dim() < 2 or cls_score.size(-1) != self.num_classes + 2:
            raise ValueError(f'FastSeesawLoss of num_classes={self.num_classes} expects logits '
                             f'(N, {self.num_classes + 2}), got {tuple(cls_score.shape)}. Change '
                             '`loss_cls.num_classes` or `bbox_head.num_classes`.')

    def get_cls_channels(self, num_classes: int) -> int:
        """Outputs of the classifier.

        Args:
            num_classes (int): That of the box head.

        Returns:
            int: C + 2.

        Raises:
            ValueError: If it is not that of the loss.
        """
        if num_classes != self.num_classes:
            raise ValueError(f'bbox_head.num_classes={num_classes}, but loss_cls.num_classes={self.num_classes} in '
                             'FastSeesawLoss. They must be equal.')
        return num_classes + 2

    def get_activation(self, cls_score: Tensor) -> Tensor:
        """Inference scores: softmax over the classes times p(object), and p(background).

        Args:
            cls_score (Tensor): Logits, shape ``(N, C + 2)``.

        Returns:
            Tensor: Shape ``(N, C + 1)``.

        Raises:
            ValueError: If there are not C + 2 logits.
        """
        self._check_width(cls_score)
        found, background = cls_score[..., -2:].softmax(-1).split(1, dim=-1)
        return torch.cat([cls_score[..., :-2].softmax(-1) * found, background], dim=-1)

    def get_accuracy(self, cls_score: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Accuracy of object against background over all proposals, and of the classes over the foreground.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C + 2)``.
            labels (Tensor): Shape ``(N, )``; C is background.

        Returns:
            dict[str, Tensor]: ``acc_objectness`` and ``acc_classes`` in percent, shape ``(1, )``; 0 without proposals.
        """
        self._check_width(cls_score)
        rows = (labels < self.num_classes).nonzero().squeeze(1)
        background = cls_score[:, -1] > cls_score[:, -2]
        classes = cls_score.index_select(0, rows)[:, :-2].argmax(1)
        hits = dict(acc_objectness=background == (labels == self.num_classes), acc_classes=classes == labels[rows])
        return {name: hit.sum(0, keepdim=True) * (100.0 / max(len(hit), 1)) for name, hit in hits.items()}

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return (f'num_classes={self.num_classes}, p={self.p}, q={self.q}, eps={self.eps}, '
                f'loss_weight={self.loss_weight}, sync_counts={self.sync_counts}')
