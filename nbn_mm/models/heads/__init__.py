"""Classification heads on mmpretrain; imported by :mod:`nbn_mm.utils.hosts` when mmpretrain is there."""
from .long_tail_cls_head import LongTailClsHead

__all__ = ['LongTailClsHead']
