"""Long-tail losses: in each file a function, then a registered class on it."""
from .balanced_contrastive_loss import BalancedContrastiveLoss, balanced_contrastive_loss
from .balanced_softmax_loss import BalancedSoftmaxLoss, balanced_softmax_loss, log_class_prior
from .box_balanced_softmax_loss import BoxBalancedSoftmaxLoss, count_with_background
from .class_count_loss import ClassCountLoss
from .equalization_loss import EqualizationLoss, equalization_loss
from .fast_seesaw_cls_loss import FastSeesawClsLoss
from .fast_seesaw_loss import FastSeesawLoss
from .generalized_reweight_loss import GeneralizedReweightLoss, generalized_reweight, generalized_reweight_loss
from .label_aware_smoothing_loss import LabelAwareSmoothingLoss, label_aware_smoothing, label_aware_smoothing_loss
from .ride_loss import RIDELoss, expert_divergence, temperature_weights
from .seesaw import seesaw_cross_entropy

__all__ = [
    'BalancedContrastiveLoss',
    'BalancedSoftmaxLoss',
    'BoxBalancedSoftmaxLoss',
    'ClassCountLoss',
    'EqualizationLoss',
    'FastSeesawClsLoss',
    'FastSeesawLoss',
    'GeneralizedReweightLoss',
    'LabelAwareSmoothingLoss',
    'RIDELoss',
    'balanced_contrastive_loss',
    'balanced_softmax_loss',
    'count_with_background',
    'equalization_loss',
    'expert_divergence',
    'generalized_reweight',
    'generalized_reweight_loss',
    'label_aware_smoothing',
    'label_aware_smoothing_loss',
    'log_class_prior',
    'seesaw_cross_entropy',
    'temperature_weights',
]
