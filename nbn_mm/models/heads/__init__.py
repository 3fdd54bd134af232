"""Classification heads on mmpretrain; imported by :mod:`nbn_mm.utils.hosts` when mmpretrain is there."""
from .balanced_contrastive_head import BalancedContrastiveHead
from .dual_path_cls_head import DualPathClsHead
from .long_tail_cls_head import LongTailClsHead
from .multi_expert_cls_head import MultiExpertClsHead
from .routed_expert_cls_head import RoutedExpertClsHead

__all__ = ['BalancedContrastiveHead', 'DualPathClsHead', 'LongTailClsHead', 'MultiExpertClsHead', 'RoutedExpertClsHead']
