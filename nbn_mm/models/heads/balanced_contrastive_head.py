"""The head of balanced contrastive learning: a classifier on one view, a contrastive loss on the others."""
from typing import Any

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, cat

from ...datasets.label_batch import LabelBatch
from ..layers.projection_mlp import ProjectionMLP
from .long_tail_cls_head import LongTailClsHead

VIEWS = "data_preprocessor=dict(type='MultiViewClsDataPreprocessor') and a MultiView of at least 3 views in " \
        'train_dataloader.dataset.pipeline'


@MODELS.register_module()
class BalancedContrastiveHead(LongTailClsHead):
    r"""BCL (Zhu et al., CVPR 2022, arXiv:2207.09052): :math:`\alpha L_{LC} + \beta L_{BCL}`.

    The first view of each image goes through the classifier and its loss (logit-adjusted cross entropy in the paper);
    the others go through a projection and the contrastive loss, whose prototypes are the classifier's weights, sent
    through a projection of their own. alpha is the ``loss_weight`` of ``loss``, beta that of ``contrast``::

        head=dict(type='BalancedContrastiveHead', num_classes=1000, in_channels=2048,
                  predictor=dict(type='CosineLinear', scale=30), loss=dict(type='BalancedSoftmaxLoss'),
                  contrast=dict(type='BalancedContrastiveLoss', loss_weight=0.35))

    At test it is a :class:`LongTailClsHead` of one view. The losses are ``loss_cls`` and ``loss_contrast``.

    Args:
        num_classes (int): Number of classes C.
        in_channels (int): Channels of the features.
        contrast (dict, optional): The contrastive loss. Defaults to ``BalancedContrastiveLoss`` with weight 0.35.
        hidden_channels (int, optional): Channels inside the projections. Defaults to ``in_channels``.
        out_channels (int): Channels of the projections. Defaults to 1024.
        **kwargs: ``predictor``, ``loss``, ``init_cfg``, ``topk`` and ``cal_acc`` of :class:`LongTailClsHead`.

    Raises:
        ValueError: If the predictor has no weight for each class, or a batch does not hold at least three views.
    """

    def __init__(self,
                 num_classes: int,
                 in_channels: int,
                 contrast: dict[str, Any] | None = None,
                 hidden_channels: int | None = None,
                 out_channels: int = 1024,
                 **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels, **kwargs)
        contrast = dict(type='BalancedContrastiveLoss', loss_weight=0.35) if contrast is None else contrast
        self.contrast_module = MODELS.build(contrast)
        sizes = (in_channels, in_channels if hidden_channels is None else hidden_channels, out_channels)
        self.projection = ProjectionMLP(*sizes)
        self.prototype_projection: ProjectionMLP | None = None
        if self.contrast_module.class_complement:  # else its parameters would have no gradient
            weight = getattr(self.fc, 'weight', None)
            if weight is None or tuple(weight.shape) != (num_classes, in_channels):
                raise ValueError(f'BalancedContrastiveHead: the predictor {type(self.fc).__name__} has no weight of '
                                 f'shape {(num_classes, in_channels)}, from which the prototypes come. Change '
                                 '`head.predictor`, or set `head.contrast.class_complement=False`.')
            self.prototype_projection = ProjectionMLP(*sizes)

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[DataSample] | LabelBatch,
             **kwargs: Any) -> dict[str, Tensor]:
        """Both losses.

        Args:
            feats (tuple[Tensor]): The last one is that of all views, shape ``(V * N, in_channels)``.
            data_samples (list[DataSample] | LabelBatch): Labels of the N images.

        Returns:
            dict[str, Tensor]: ``loss_cls`` and ``loss_contrast``.

        Raises:
            ValueError: If V is below 3, or the labels are soft.
        """
        features, images = self.pre_logits(feats), len(data_samples)
        views, rest = divmod(len(features), images)
        if rest or views < 3:
            raise ValueError(f'BalancedContrastiveHead got {len(features)} feature vectors for {images} images, that '
                             f'is no 3 or more views of each. Set {VIEWS}.')
        targets = data_samples.targets() if isinstance(data_samples, LabelBatch) else data_samples
        if 'gt_score' in targets[0]:
            raise ValueError('BalancedContrastiveHead takes no soft labels: remove train_cfg.augments (mixup, CutMix) '
                             'or the data set that mixes images.')
        losses = self._get_loss(self.fc(features[:images]), data_samples, **kwargs)
        label = cat([sample.gt_label for sample in targets])
        prototypes = None if self.prototype_projection is None else self.prototype_projection(self.fc.weight)
        return dict(
            loss_cls=losses.pop('loss'),
            loss_contrast=self.contrast_module(self.projection(features[images:]), label.repeat(views - 1), prototypes),
            **losses)
