"""Samplers that change how often a class is seen."""
from .class_samplers import (ClassBalancedSampler, EpochSequenceSampler, ProgressivelyBalancedSampler,
                             SquareRootSampler)
from .labels import image_labels

__all__ = [
    'ClassBalancedSampler', 'EpochSequenceSampler', 'ProgressivelyBalancedSampler', 'SquareRootSampler', 'image_labels'
]
