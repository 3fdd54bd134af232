"""Long-tail losses: in each file a function, then a registered class on it."""
from .balanced_softmax_loss import BalancedSoftmaxLoss, balanced_softmax_loss, log_class_prior

__all__ = ['BalancedSoftmaxLoss', 'balanced_softmax_loss', 'log_class_prior']
