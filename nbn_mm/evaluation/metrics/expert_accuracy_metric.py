"""Accuracy of each expert."""
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import METRICS

from ...datasets.label_batch import LabelBatch
from ..functional.expert_accuracy import expert_accuracy
from .class_group_metric import ClassGroupMetric


@METRICS.register_module()
class ExpertAccuracyMetric(ClassGroupMetric):
    """Top-1 accuracy of the ensemble and of each of its experts, over all images and by shot group, in percent.

    The metrics are ``expert/{k}_top1``, ``expert/{k}_{many,medium,few,hmean}_top1``, the same with ``ensemble`` for the
    number k, and ``expert/disagreement``; with routing also ``expert/{k}_asked`` and ``expert/mean_used``. See
    :func:`expert_accuracy`. Beside ``ShotGroupMetric``, for heads that predict ``expert_label``::

        val_evaluator = dict(type='BatchEvaluator', metrics=[dict(type='ShotGroupMetric'),
                                                             dict(type='ExpertAccuracyMetric')])
    """
    default_prefix: str | None = 'expert'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Take the predictions of a batch.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): N samples with ``gt_label``, ``pred_label`` and ``expert_label`` ``(E, )``.

        Raises:
            RuntimeError: If there are no class counts.
            KeyError: If a sample lacks a key.
        """
        self.counts  # noqa: B018, raises without counts
        if not data_samples:
            return
        columns = [torch.stack([self._get(sample, key).reshape(-1) for sample in data_samples]).cpu()
                   for key in ('gt_label', 'pred_label', 'expert_label')]
        self._keep(*columns)

    def process_label_batch(self, batch: LabelBatch) -> None:
        """Take the predictions of a batch as tensors; ``BatchEvaluator`` calls this.

        Args:
            batch (LabelBatch): With ``gt_label``, ``pred_label`` ``(N, )`` and ``expert_label`` ``(N, E)``.

        Raises:
            RuntimeError: If there are no class counts.
            KeyError: If a field is absent.
        """
        self.counts  # noqa: B018, raises without counts
        found = {key: getattr(batch, key) for key in ('gt_label', 'pred_label', 'expert_label')
                 if getattr(batch, key) is not None}
        columns = [self._get(found, key).cpu() for key in ('gt_label', 'pred_label', 'expert_label')]
        self._keep(columns[0][:, None], columns[1][:, None], columns[2])

    def _keep(self, *columns: torch.Tensor) -> None:
        self.results.extend(tuple(row) for row in torch.cat([column.long() for column in columns], dim=1).tolist())

    def _get(self, sample: dict, key: str) -> torch.Tensor:
        if key not in sample:
            raise KeyError(f'ExpertAccuracyMetric needs {key!r} of each image, got {sorted(sample)}. Use it with '
                           "head=dict(type='MultiExpertClsHead') and data sets that give one class per image.")
        return torch.as_tensor(sample[key])

    def reduce(self, scores: torch.Tensor, labels: torch.Tensor, ranks: torch.Tensor) -> list[tuple]:
        """Not used: this metric takes classes, no scores."""
        raise NotImplementedError

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Accuracies in percent.

        Args:
            results (list[tuple]): Of each test image: its class, that of the ensemble and those of the experts.

        Returns:
            dict[str, float]: See :func:`expert_accuracy`.
        """
        rows = torch.tensor(results, dtype=torch.int64).reshape(len(results), -1)
        return dict(expert_accuracy(rows[:, 0], rows[:, 1], rows[:, 2:], self.counts.images, self.few, self.many))
