"""Class counts, shot groups, long-tailed data sets, samplers and transforms."""
from .class_counts import ClassCounts, count_classes, parse_class_counts
from .shot_groups import FEW, MANY, check_thresholds, shot_groups

__all__ = [
    'FEW', 'MANY', 'ClassCounts', 'check_thresholds', 'count_classes', 'parse_class_counts', 'shot_groups'
]
