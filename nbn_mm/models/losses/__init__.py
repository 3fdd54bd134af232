"""Long-tail losses: in each file a function, then a registered class on it."""
from .balanced_contrastive_loss import BalancedContrastiveLoss, balanced_contrastive_loss
from .balanced_softmax_loss import BalancedSoftmaxLoss, balanced_softmax_loss, log_class_prior
from .box_balanced_softmax_loss import BoxBalancedSoftmaxLoss, count_with_background
from .equalization_loss import EqualizationLoss, equalization_loss
from .fast_seesaw_cls_loss import FastSeesawClsLoss
from .fast_seesaw_loss import FastSeesawLoss
from .seesaw import seesaw_cross_entropy

__all__ = [
    'BalancedContrastiveLoss',
    'BalancedSoftmaxLoss',
    'BoxBalancedSoftmaxLoss',
    'EqualizationLoss',
    'FastSeesawClsLoss',
    'FastSeesawLoss',
    'balanced_contrastive_loss',
    'balanced_softmax_loss',
    'count_with_background',
    'equalization_loss',
    'log_class_prior',
    'seesaw_cross_entropy',
]
