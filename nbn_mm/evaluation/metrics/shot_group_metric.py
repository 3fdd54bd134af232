"""Top-k accuracy in shot groups."""
from collections.abc import Sequence
from os import PathLike

import torch
from mmengine.registry import METRICS

from ..functional.class_table import per_class_table, write_class_csv
from ..functional.shot_accuracy import AVERAGES, check_topk, class_hits, group_accuracy_from_hits
from .class_group_metric import ClassGroupMetric


@METRICS.register_module()
class ShotGroupMetric(ClassGroupMetric):
    """Accuracy over all, many-, medium- and few-shot classes and the harmonic mean of these groups, in percent.

    The metrics are ``shot/{all,many,medium,few,hmean}_top{k}``. Groups follow the training set's class counts (Liu et
    al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019, arXiv:1904.05160). A group without classes or
    test images is absent.

    Args:
        topk (int | Sequence[int]): Defaults to ``(1, 5)``.
        average (str): ``'micro'``: right predictions over images of the group; ``'macro'``: mean over the group's
            classes. Both agree on a balanced test set. Defaults to ``'micro'``.
        per_class_csv (str, optional): File into which the main process writes index, name, training images, group, test
            images and accuracies of each class at each evaluation (the last one stays). Relative to the folder the
            command runs in. Defaults to None.
        **kwargs: ``few``, ``many``, ``class_counts``, ``collect_device``, ``prefix``, ``collect_dir``; see
            ``ClassGroupMetric``.

    Raises:
        TypeError, ValueError, FileNotFoundError: If an option is unusable.

    Example:
        >>> test_evaluator = dict(type='ShotGroupMetric', topk=(1, 5), few=20, many=100)
        >>> default_hooks = dict(class_counts=dict(type='ClassCountsHook'))
    """
    default_prefix: str | None = 'shot'

    def __init__(self, topk: int | Sequence[int] = (1, 5), average: str = 'micro',
                 per_class_csv: str | PathLike | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.topk = check_topk(topk)
        if average not in AVERAGES:
            raise ValueError(f'average={average!r} of ShotGroupMetric is unknown; it must be one of {AVERAGES}.')
        if per_class_csv is not None and not str(per_class_csv).endswith('.csv'):
            raise ValueError(f'per_class_csv={str(per_class_csv)!r} of ShotGroupMetric must end in .csv.')
        self.average = average
        self.per_class_csv = per_class_csv

    def _check_num_classes(self, num_classes: int) -> None:
        check_topk(self.topk, num_classes)

    def reduce(self, scores: torch.Tensor, labels: torch.Tensor, ranks: torch.Tensor) -> list[tuple]:
        """Label and rank of each image."""
        return list(zip(labels.tolist(), ranks.tolist(), strict=True))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Group accuracies, and the per-class table if it is asked for.

        Args:
            results (list[tuple]): Label and rank of each test image.

        Returns:
            dict[str, float]: ``'all_top1'``, … in percent.

        Raises:
            ValueError: If there is no test image.
        """
        labels, ranks = torch.tensor(results, dtype=torch.int64).reshape(-1, 2).unbind(dim=1)
        counts = self.counts
        hits = {k: class_hits(ranks, labels, counts.num_classes, k) for k in self.topk}
        metrics = {}
        for k, (correct, total) in hits.items():
            groups = group_accuracy_from_hits(correct, total, counts.images, self.few, self.many, self.average)
            metrics.update({f'{name}_top{k}': value for name, value in groups.items()})
        if self.per_class_csv is not None:
            rows = per_class_table(hits, counts.images, self.class_names, self.few, self.many)
            write_class_csv(rows, self.per_class_csv)
        return metrics
