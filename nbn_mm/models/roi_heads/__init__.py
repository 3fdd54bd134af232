"""Heads and losses on mmdet; imported by :mod:`nbn_mm.utils.hosts` when mmdet is there."""
from .equalization_v2_loss import EqualizationV2Loss
from .fast_bbox_head import FastBBoxHead, FastConvFCBBoxHead, FastShared2FCBBoxHead, FastShared4Conv1FCBBoxHead
from .fast_mask_head import FastFCNMaskHead
from .fast_roi_head import FastCascadeRoIHead, FastStandardRoIHead

__all__ = [
    'EqualizationV2Loss', 'FastBBoxHead', 'FastCascadeRoIHead', 'FastConvFCBBoxHead', 'FastFCNMaskHead',
    'FastShared2FCBBoxHead', 'FastShared4Conv1FCBBoxHead', 'FastStandardRoIHead'
]
