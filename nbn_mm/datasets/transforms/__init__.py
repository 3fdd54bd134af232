"""Augmentations of the CIFAR recipes, and loading of JPEG files at a reduced scale."""
from .auto_augment import CIFARAutoAugment
from .batched import BatchedPipeline, BatchedTransform, Plan
from .cutout import CIFARCutout
from .image_operations import OPERATIONS, apply_operation
from .policies import CIFAR10_POLICY, MAGNITUDES, SIGNED, magnitude_of
from .reduced_jpeg import JPEGImage, LoadReducedJPEG

__all__ = [
    'CIFAR10_POLICY', 'BatchedPipeline', 'BatchedTransform', 'CIFARAutoAugment', 'CIFARCutout', 'JPEGImage',
    'LoadReducedJPEG', 'MAGNITUDES', 'OPERATIONS', 'Plan', 'SIGNED', 'apply_operation', 'magnitude_of'
]
