"""A classification head of any linear predictor and any loss."""
from typing import Any

import torch.nn.functional as F
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ...datasets.label_batch import LabelBatch
from ..layers.rectified_predictor import build_linear_predictor


@MODELS.register_module()
class LongTailClsHead(LinearClsHead):
    """mmpretrain's linear head with a configurable predictor, logit rectification included.

    The keys are those of the host's head (``fc.weight``, ``fc.bias``), so its checkpoints load::

        head=dict(type='LongTailClsHead', num_classes=10, in_channels=64,
                  predictor=dict(type='RectifiedPredictor', base='Linear'),
                  loss=dict(type='BalancedSoftmaxLoss'))

    For a ``LabelBatch`` (of ``DeviceDataset``) in the place of a list of data samples, the loss takes its label tensor
    and predictions are a ``LabelBatch``, too; the numbers are the same.

    Args:
        num_classes (int): Number of classes C.
        in_channels (int): Channels of the features.
        predictor (dict, optional): A linear predictor without ``in_features`` and ``out_features``. Defaults to
            ``dict(type='Linear')``.
        init_cfg (dict, optional): Defaults to the host's: Normal with a standard deviation of 0.01.
        **kwargs: ``loss``, ``topk`` and ``cal_acc`` of the host's head.

    Raises:
        ValueError: If ``cal_acc`` or the loss can't take the soft labels of a batch augmentation, or the loss can't
            stand on the predictor (its method ``check_predictor``: LDAM's margins behind logit rectification).
    """

    def __init__(self,
                 num_classes: int,
                 in_channels: int,
                 predictor: dict[str, Any] | None = None,
                 init_cfg: dict | None = None,
                 **kwargs: Any) -> None:
        init_cfg = dict(type='Normal', layer='Linear', std=0.01) if init_cfg is None else init_cfg
        super().__init__(num_classes=num_classes, in_channels=in_channels, init_cfg=init_cfg, **kwargs)
        predictor = dict(type='Linear') if predictor is None else predictor
        self.fc = build_linear_predictor(dict(predictor, in_features=in_channels, out_features=num_classes))
        for loss in self.loss_module.modules():
            if hasattr(loss, 'check_predictor'):
                loss.check_predictor(self.fc)

    def _get_loss(self, cls_score: Tensor, data_samples: list[DataSample] | LabelBatch,
                  **kwargs: Any) -> dict[str, Tensor]:
        """The host's, with errors that say what does not go with soft labels."""
        if isinstance(data_samples, LabelBatch):
            data_samples = data_samples.targets()
        if 'gt_score' not in data_samples[0]:
            return super()._get_loss(cls_score, data_samples, **kwargs)
        if self.cal_acc:
            raise ValueError('`head.cal_acc=True` does not go with the soft labels of `train_cfg.augments` or CMO: a '
                             'mixed image has no one label. Remove one of the two.')
        try:
            return super()._get_loss(cls_score, data_samples, **kwargs)
        except (AssertionError, IndexError, TypeError) as error:
            raise ValueError(f'the loss {type(self.loss_module).__name__} of `head.loss` failed on the soft labels of '
                             f'`train_cfg.augments` or CMO, shape {tuple(data_samples[0].gt_score.shape)} an '
                             f'image: {error}. Use a loss of soft labels or remove the augmentation.') from error

    def _get_predictions(self, cls_score: Tensor,
                         data_samples: list[DataSample | None] | LabelBatch | None) -> list[DataSample] | LabelBatch:
        """The host's; for a batch of labels the same scores and labels as one tensor each."""
        if not isinstance(data_samples, LabelBatch) or data_samples.touched:
            return super()._get_predictions(cls_score, data_samples)
        scores = F.softmax(cls_score, dim=1)
        return data_samples.replaced(pred_score=scores, pred_label=scores.argmax(dim=1))
