"""Registered metrics, thin classes on the functions."""
from .calibration_metric import CalibrationMetric
from .class_group_metric import ClassGroupMetric
from .shot_group_metric import ShotGroupMetric

__all__ = ['CalibrationMetric', 'ClassGroupMetric', 'ShotGroupMetric']
