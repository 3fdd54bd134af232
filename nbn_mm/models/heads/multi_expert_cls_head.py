"""A classification head with one classifier an expert."""
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...datasets.label_batch import LabelBatch
from ..layers.rectified_predictor import build_linear_predictor
from .long_tail_cls_head import LongTailClsHead


@MODELS.register_module()
class MultiExpertClsHead(LongTailClsHead):
    """Classifiers of the experts of ``MultiExpertBackbone``; the prediction is the mean of their logits.

    .. code-block:: python

        head=dict(type='MultiExpertClsHead', num_experts=3, num_classes=10, in_channels=48,
                  predictor=dict(type='RectifiedPredictor', base='Linear'),
                  loss=dict(type='RIDELoss', base=dict(type='BalancedSoftmaxLoss')))

    The keys are ``experts.{k}.fc.weight``, ``experts.{k}.fc.bias``; each expert has a logit rectification of its own.
    Predictions also hold ``expert_label``, the class that each expert predicts, for ``ExpertAccuracyMetric``.

    Args:
        num_experts (int): Number of experts E, that of the backbone. Defaults to 3.
        num_classes (int): Number of classes C.
        in_channels (int): Channels of an expert's features.
        predictor (dict, optional): See :class:`LongTailClsHead`.
        distillation (dict, optional): Loss of the mean logits and a teacher's, for ``DistilledClassifier``.
        **kwargs: ``loss``, which takes logits ``(N, E, C)`` (``RIDELoss``), and the others of the host's head.

    Raises:
        ValueError: If ``num_experts`` is below 1, logit rectification stands over another predictor than a linear one
            or below a loss with margins, the loss takes the logits of one classifier, ``cal_acc`` is set, or
            the features are not those of E experts.
    """

    def __init__(self, num_classes: int, in_channels: int, num_experts: int = 3,
                 predictor: dict[str, Any] | None = None, distillation: dict[str, Any] | None = None,
                 **kwargs: Any) -> None:
        if type(num_experts) is not int or num_experts < 1:
            raise ValueError(f'head.num_experts={num_experts!r} must be an integer of at least 1.')
        super().__init__(num_classes=num_classes, in_channels=in_channels, predictor=predictor, **kwargs)
        if self.cal_acc:
            raise ValueError('head.cal_acc=True is for one classifier; ExpertAccuracyMetric in val_evaluator gives the '
                             'accuracy of each expert. Remove cal_acc.')
        self.num_experts = num_experts
        del self.fc  # that of the host's head; each expert has its own
        cfg = dict(dict(type='Linear') if predictor is None else predictor, in_features=in_channels,
                   out_features=num_classes)
        self.experts = nn.ModuleList(nn.ModuleDict(dict(fc=build_linear_predictor(cfg))) for _ in range(num_experts))
        self.distillation = None if distillation is None else MODELS.build(distillation)
        self._check_loss()

    def _check_loss(self) -> None:
        predictor = self.experts[0]['fc']
        if hasattr(predictor, 'logit_rectification') and not isinstance(predictor, nn.Linear):
            raise ValueError(f'head.predictor: logit rectification over {type(predictor).__name__}; experts take it '
                             "over a linear classifier, predictor=dict(type='RectifiedPredictor', base='Linear').")
        if not getattr(self.loss_module, 'takes_experts', False):
            name = type(self.loss_module).__name__
            raise ValueError(f'head.loss={name} takes the logits of one classifier. Give every expert this loss by '
                             f"head.loss=dict(type='RIDELoss', base=dict(type='{name}')).")

    def pre_logits(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The features of all experts, as they come from the neck.

        Args:
            feats (tuple[Tensor]): E tensors of shape ``(N, D)``.

        Raises:
            ValueError: If there are not E of them, or they have other channels.
        """
        shapes = [tuple(feat.shape) for feat in feats]
        if len(feats) != self.num_experts:
            raise ValueError(f'head.num_experts={self.num_experts}, but the backbone gives {len(feats)} feature maps. '
                             "Set num_experts of backbone=dict(type='MultiExpertBackbone') to the same number.")
        if any(len(shape) != 2 or shape[1] != self.in_channels for shape in shapes):
            raise ValueError(f'head.in_channels={self.in_channels} expects features (N, {self.in_channels}) of each '
                             f'expert, got {shapes}. Set head.in_channels to the channels of an expert (three quarters '
                             "under backbone.reduce_dimension=True) and neck=dict(type='GlobalAveragePooling').")
        return tuple(feats)

    def expert_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Logits of the experts, shape ``(N, E, C)``, from E features ``(N, D)``."""
        feats = self.pre_logits(feats)
        return torch.stack([expert['fc'](feat) for expert, feat in zip(self.experts, feats, strict=True)], dim=1)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Mean of the experts' logits, shape ``(N, C)``."""
        return self.expert_logits(feats).mean(1)

    def loss(self, feats: tuple[Tensor, ...], data_samples: Sequence[DataSample] | LabelBatch,
             teacher_logits: Tensor | None = None, **kwargs: Any) -> dict[str, Tensor]:
        """The loss of all experts.

        Args:
            feats (tuple[Tensor]): E features, shape ``(N, D)``.
            data_samples (Sequence): As in the host's heads.
            teacher_logits (Tensor, optional): From ``DistilledClassifier``, shape ``(N, C)``.
            **kwargs: For the loss.

        Returns:
            dict[str, Tensor]: ``loss``, and with a teacher ``distillation_loss``.

        Raises:
            ValueError: If there is a distillation without a teacher.
        """
        if self.distillation is not None and teacher_logits is None:
            raise ValueError("head.distillation needs a teacher: model=dict(type='DistilledClassifier', teacher=dict("
                             'config=..., checkpoint=...)).')
        logits = self.expert_logits(feats)
        losses = self._get_loss(logits, data_samples, **kwargs)
        if self.distillation is not None:
            losses['distillation_loss'] = self.distillation(logits.mean(1), teacher_logits)
        return losses

    def predict(self, feats: tuple[Tensor, ...],
                data_samples: Sequence[DataSample | None] | LabelBatch | None = None) -> Sequence[DataSample]:
        """Predictions of the ensemble, with those of each expert; arguments as in the host's heads."""
        logits = self.expert_logits(feats)
        return self.to_predictions(logits.mean(1), data_samples, expert_label=logits.argmax(2))

    def to_predictions(self, cls_score: Tensor, data_samples: Sequence[DataSample | None] | LabelBatch | None,
                       **fields: Tensor) -> Sequence[DataSample]:
        """Predictions with further fields.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C)``.
            data_samples (Sequence, optional): The data samples or the batch of labels.
            **fields (Tensor): ``expert_label`` ``(N, E)`` and the like; row i goes to data sample i.

        Returns:
            Sequence[DataSample]: Data samples, or a batch of labels.
        """
        if isinstance(data_samples, LabelBatch) and not data_samples.touched:
            scores = F.softmax(cls_score, dim=1)
            return data_samples.replaced(pred_score=scores, pred_label=scores.argmax(dim=1), **fields)
        predictions = self._get_predictions(cls_score, data_samples)
        for name, values in fields.items():
            for sample, value in zip(predictions, values, strict=True):
                sample.set_field(value, name)
        return predictions
