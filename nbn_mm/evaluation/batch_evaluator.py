"""An evaluator that hands predictions to metrics as tensors where both can."""
from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR
from mmengine.structures import BaseDataElement

from ..datasets.label_batch import LabelBatch


@EVALUATOR.register_module()
class BatchEvaluator(Evaluator):
    """mmengine's evaluator, without one data sample an image where the model predicts a ``LabelBatch``.

    Metrics with a method ``process_batch(scores, labels)``, such as ours over class groups, get the two tensors, those
    with ``process_label_batch(batch)`` the whole of it; all others get their list of dicts. Results are the same. In a
    config::

        val_evaluator = dict(type='BatchEvaluator', metrics=[dict(type='ShotGroupMetric'), dict(type='Accuracy')])
    """

    def process(self, data_samples: Sequence[BaseDataElement] | LabelBatch, data_batch: Any = None) -> None:
        """Hand a batch of predictions to all metrics.

        Args:
            data_samples (Sequence): Predictions with their labels, or a ``LabelBatch`` of both.
            data_batch (Any): From the data loader.
        """
        if not isinstance(data_samples, LabelBatch):
            super().process(data_samples, data_batch)
            return
        singles: list[dict] | None = None
        for metric in self.metrics:
            if hasattr(metric, 'process_label_batch'):
                metric.process_label_batch(data_samples)
                continue
            if hasattr(metric, 'process_batch') and data_samples.pred_score is not None:
                metric.process_batch(data_samples.pred_score, data_samples.gt_label)
                continue
            if singles is None:
                singles = [sample.to_dict() for sample in data_samples]
            metric.process(data_batch, singles)
