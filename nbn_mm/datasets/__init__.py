"""Class counts, shot groups, long-tailed data sets, samplers and transforms.

The data sets on classes of a host (``cifar_lt``, ``digits_lt``, ``device_dataset``, ``lvis_dataset``) are imported with
it, by ``utils/hosts.py``.
"""
from . import samplers, transforms
from .class_counts import ClassCounts, check_labels, count_classes, parse_class_counts
from .cmo import CMO, class_probabilities
from .dataset_labels import cat_ids, image_labels, leaves_of
from .device_batch import DeviceBatch, device_collate
from .label_batch import LabelBatch
from .long_tail import long_tail_counts, long_tail_indices, select_subset, subset_hash
from .shapes_lvis import make_shapes_lvis
from .shot_groups import FEW, MANY, check_thresholds, shot_groups

__all__ = [
    'CMO', 'FEW', 'MANY', 'ClassCounts', 'DeviceBatch', 'LabelBatch', 'cat_ids', 'check_labels', 'check_thresholds',
    'class_probabilities', 'count_classes', 'device_collate', 'image_labels', 'leaves_of', 'long_tail_counts',
    'long_tail_indices', 'make_shapes_lvis', 'parse_class_counts', 'samplers', 'select_subset', 'shot_groups',
    'subset_hash', 'transforms'
]
