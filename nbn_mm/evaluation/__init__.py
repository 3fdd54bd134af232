"""Class-group evaluation: pure functions and registered metrics."""
from .metrics import CalibrationMetric, ShotGroupMetric

__all__ = ['CalibrationMetric', 'ShotGroupMetric']
