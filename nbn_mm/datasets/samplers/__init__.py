"""Samplers that change how often a class is seen."""
from .class_samplers import ClassBalancedSampler, EpochSequenceSampler, ProgressivelyBalancedSampler, SquareRootSampler

__all__ = [
    'ClassBalancedSampler', 'EpochSequenceSampler', 'ProgressivelyBalancedSampler', 'SquareRootSampler'
]
