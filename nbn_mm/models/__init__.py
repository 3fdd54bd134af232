"""Layers, placement, backbones, heads and losses."""
from . import backbones, layers, losses, placement

__all__ = ['backbones', 'layers', 'losses', 'placement']
