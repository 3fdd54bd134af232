"""Image classifiers on mmpretrain; imported by :mod:`nbn_mm.utils.hosts` when mmpretrain is there."""
from .distilled_classifier import DistilledClassifier
from .routed_classifier import RoutedClassifier

__all__ = ['DistilledClassifier', 'RoutedClassifier']
