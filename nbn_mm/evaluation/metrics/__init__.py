"""Registered metrics, thin classes on the functions."""
from .calibration_metric import CalibrationMetric
from .class_group_metric import ClassGroupMetric
from .expert_accuracy_metric import ExpertAccuracyMetric
from .shot_group_metric import ShotGroupMetric
from .streaming_lvis_metric import StreamingLVISMetric
from .test_prior_metric import TestPriorMetric

__all__ = [
    'CalibrationMetric', 'ClassGroupMetric', 'ExpertAccuracyMetric', 'ShotGroupMetric', 'StreamingLVISMetric',
    'TestPriorMetric'
]
