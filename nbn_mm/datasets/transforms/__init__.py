"""Augmentations of the CIFAR recipes."""
from .auto_augment import CIFARAutoAugment
from .batched import BatchedPipeline, BatchedTransform, Plan
from .cutout import CIFARCutout
from .image_operations import OPERATIONS, apply_operation
from .policies import CIFAR10_POLICY, MAGNITUDES, SIGNED, magnitude_of

__all__ = [
    'CIFAR10_POLICY', 'BatchedPipeline', 'BatchedTransform', 'CIFARAutoAugment', 'CIFARCutout', 'MAGNITUDES',
    'OPERATIONS', 'Plan', 'SIGNED', 'apply_operation', 'magnitude_of'
]
