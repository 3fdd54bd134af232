"""Losses of box heads on mmdet; imported by :mod:`nbn_mm.utils.hosts` when mmdet is there."""
from .equalization_v2_loss import EqualizationV2Loss

__all__ = ['EqualizationV2Loss']
