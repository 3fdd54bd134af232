"""Preprocessors on mmpretrain's; imported by :mod:`nbn_mm.utils.hosts` when mmpretrain is there."""
from .batch_cls_data_preprocessor import BatchClsDataPreprocessor
from .multi_view_cls_data_preprocessor import MultiViewClsDataPreprocessor

__all__ = ['BatchClsDataPreprocessor', 'MultiViewClsDataPreprocessor']
