"""Long-tail losses: in each file a function, then a registered class on it."""
from .adaptive_logit_adjustment_loss import AdaptiveLogitAdjustmentLoss, adaptive_logit_adjustment_loss
from .balanced_contrastive_loss import BalancedContrastiveLoss, balanced_contrastive_loss
from .balanced_softmax_loss import BalancedSoftmaxLoss, balanced_softmax_loss, log_class_prior
from .box_balanced_softmax_loss import BoxBalancedSoftmaxLoss, count_with_background
from .class_balanced_loss import ClassBalancedLoss, class_balanced_loss
from .class_count_loss import ClassCountLoss
from .distillation_loss import DistillationLoss, distillation_loss
from .effective_number import effective_number_weights
from .equalization_loss import EqualizationLoss, equalization_loss
from .fast_seesaw_cls_loss import FastSeesawClsLoss
from .fast_seesaw_loss import FastSeesawLoss
from .gaussian_clouded_logit_loss import GaussianCloudedLogitLoss, gaussian_clouded_logit_loss
from .generalized_reweight_loss import GeneralizedReweightLoss, generalized_reweight, generalized_reweight_loss
from .label_aware_smoothing_loss import LabelAwareSmoothingLoss, label_aware_smoothing, label_aware_smoothing_loss
from .ldam_loss import LDAMLoss, ldam_loss
from .logit_adjustment_loss import LogitAdjustmentLoss, logit_adjustment_loss
from .ride_loss import RIDELoss, expert_divergence, temperature_weights
from .seesaw import seesaw_cross_entropy
from .softmax_equalization_loss import SoftmaxEqualizationLoss, softmax_equalization_loss

__all__ = [
    'AdaptiveLogitAdjustmentLoss',
    'BalancedContrastiveLoss',
    'BalancedSoftmaxLoss',
    'BoxBalancedSoftmaxLoss',
    'ClassBalancedLoss',
    'ClassCountLoss',
    'DistillationLoss',
    'EqualizationLoss',
    'FastSeesawClsLoss',
    'FastSeesawLoss',
    'GaussianCloudedLogitLoss',
    'GeneralizedReweightLoss',
    'LDAMLoss',
    'LabelAwareSmoothingLoss',
    'LogitAdjustmentLoss',
    'RIDELoss',
    'SoftmaxEqualizationLoss',
    'adaptive_logit_adjustment_loss',
    'balanced_contrastive_loss',
    'balanced_softmax_loss',
    'class_balanced_loss',
    'count_with_background',
    'distillation_loss',
    'effective_number_weights',
    'equalization_loss',
    'expert_divergence',
    'gaussian_clouded_logit_loss',
    'generalized_reweight',
    'generalized_reweight_loss',
    'label_aware_smoothing',
    'label_aware_smoothing_loss',
    'ldam_loss',
    'log_class_prior',
    'logit_adjustment_loss',
    'seesaw_cross_entropy',
    'softmax_equalization_loss',
    'temperature_weights',
]
