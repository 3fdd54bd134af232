"""Class-group evaluation: pure functions and registered metrics."""
from .batch_evaluator import BatchEvaluator
from .metrics import CalibrationMetric, ShotGroupMetric, StreamingLVISMetric, TestPriorMetric

__all__ = ['BatchEvaluator', 'CalibrationMetric', 'ShotGroupMetric', 'StreamingLVISMetric', 'TestPriorMetric']
