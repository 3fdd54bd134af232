"""The classification head over the two paths of a backbone with CompoundBN."""
from numbers import Real
from typing import Any

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ...datasets.label_batch import LabelBatch
from ..layers.kept_buffers import kept_buffers
from .long_tail_cls_head import LongTailClsHead


@MODELS.register_module()
class DualPathClsHead(LongTailClsHead):
    """``LongTailClsHead`` for ``CompoundBNBackbone`` with a split path.

    Cheng et al., Compound Batch Normalization for Long-tailed Image Classification, ACM MM 2022, arXiv:2212.01007: the
    loss of the compound path plus ``split_weight`` times that of the split path, through the same classifier. A summary
    of the paper mentions a stop-gradient consistency constraint between the paths; its form here is ours,
    KL(p_split || p_compound) with no gradient into p_split, so that the path that is tested follows the other.

    In training the features have 2N rows, those of the compound path first. Moving statistics of the classifier (logit
    rectification) and of the loss (Seesaw's counts) follow the compound path alone. At test it is the base class.

    Args:
        split_weight (float): λ, the weight of the split path's loss. Defaults to 1.0 (ours).
        consistency_weight (float): The weight of the consistency term. Defaults to 0.0.
        **kwargs: Those of ``LongTailClsHead``.

    Raises:
        ValueError: If a weight is negative, or the backbone gave the rows of one path.
    """
    splits_paths = True

    def __init__(self, *args: Any, split_weight: float = 1.0, consistency_weight: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in (('split_weight', split_weight), ('consistency_weight', consistency_weight)):
            if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value < float('inf'):
                raise ValueError(f'head.{name}={value!r} must be a number >= 0.')
        self.split_weight = split_weight
        self.consistency_weight = consistency_weight

    def loss(self, feats: tuple[Tensor], data_samples: list[DataSample] | LabelBatch,
             **kwargs: Any) -> dict[str, Tensor]:
        """The losses of both paths.

        Args:
            feats (tuple[Tensor]): The last has the shape ``(2N, D)`` in training.
            data_samples (list[DataSample] | LabelBatch): Labels of N images.
            **kwargs: Forwarded to the loss.

        Returns:
            dict[str, Tensor]: ``loss``, the weighted ``loss_split`` and, if it has a weight, ``loss_consistency``;
            accuracies are those of the compound path.
        """
        features, images = self.pre_logits(feats), len(data_samples)
        if not self.training and len(features) == images:
            return super().loss(feats, data_samples, **kwargs)
        if len(features) != 2 * images:
            raise ValueError(f'DualPathClsHead got {len(features)} rows of features for {images} images and expects '
                             'those of two paths. Use a CompoundBNBackbone with compound=dict(split=True), or '
                             "head.type='LongTailClsHead'.")
        score = self.fc(features[:images])
        losses = self._get_loss(score, data_samples, **kwargs)
        with kept_buffers([*self.fc.modules(), *self.loss_module.modules()]):
            split_score = self.fc(features[images:])
            losses['loss_split'] = self.split_weight * self._get_loss(split_score, data_samples, **kwargs)['loss']
        if self.consistency_weight > 0:
            target = split_score.detach().float().log_softmax(1)
            distance = F.kl_div(score.float().log_softmax(1), target, reduction='batchmean', log_target=True)
            losses['loss_consistency'] = self.consistency_weight * distance
        return losses
