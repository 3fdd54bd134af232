"""Class-group evaluation: pure functions and registered metrics."""
from .metrics import CalibrationMetric, ShotGroupMetric, StreamingLVISMetric

__all__ = ['CalibrationMetric', 'ShotGroupMetric', 'StreamingLVISMetric']
