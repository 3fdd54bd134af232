"""Preprocessors on mmpretrain's; imported by :mod:`nbn_mm.utils.hosts` when mmpretrain is there."""
from .batch_cls_data_preprocessor import BatchClsDataPreprocessor

__all__ = ['BatchClsDataPreprocessor']
