"""What metrics over shot groups share: class counts, their checks, and compact results per image."""
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from ...datasets.class_counts import ClassCounts, moved_labels, parse_class_counts
from ...datasets.shot_groups import FEW, MANY, check_thresholds
from ..functional.shot_accuracy import true_class_rank

HOOK_LINE = "default_hooks = dict(class_counts=dict(type='ClassCountsHook'))"


class ClassGroupMetric(BaseMetric):
    """Base of metrics over the shot groups of a training set.

    Counts come from ``class_counts``, else from ``ClassCountsHook`` through :meth:`set_class_counts`. Their number is
    compared with the test set's class names as soon as both are known, which is before training, and with the scores of
    the first batch.

    Args:
        few (int): A class with fewer training images is a few-shot class. Defaults to 20.
        many (int): A class with more training images is a many-shot class. Defaults to 100.
        class_counts (Sequence[int] | Mapping | str, optional): Training images per class as a list, a mapping of class
            names or a JSON file, which override the hook's. Defaults to None.
        collect_device (str): ``'cpu'`` or ``'gpu'``; see mmengine's ``BaseMetric``.
        prefix (str, optional): Another prefix than the class's own.
        collect_dir (str, optional): A folder that all ranks share, for collecting on the CPU.

    Raises:
        TypeError, ValueError, FileNotFoundError: If thresholds or counts are unusable.
    """

    def __init__(self, few: int = FEW, many: int = MANY,
                 class_counts: Sequence[int] | Mapping | str | PathLike | None = None,
                 collect_device: str = 'cpu', prefix: str | None = None, collect_dir: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        check_thresholds(few, many)
        self.few, self.many = few, many
        self._override = class_counts is not None
        self._given = class_counts
        self.class_counts: ClassCounts | None = None
        if self._override:
            self.class_counts = parse_class_counts(class_counts, field=self._field)

    @property
    def _field(self) -> str:
        return f'`class_counts` of {type(self).__name__}'

    @property
    def dataset_meta(self) -> dict | None:
        """dict | None: Meta information of the test set, whose ``classes`` must fit the counts."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict | None) -> None:
        self._dataset_meta = dataset_meta
        if self._override and self._test_classes is not None:
            # A mapping of names needs the names of the test set for its order.
            self.class_counts = parse_class_counts(self._given, classes=self._test_classes, field=self._field)
        if self.class_counts is not None:
            self._check_counts()

    @property
    def _test_classes(self) -> tuple[str, ...] | None:
        classes = (self._dataset_meta or {}).get('classes')
        return None if classes is None or isinstance(classes, str) else tuple(str(name) for name in classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """tuple[str]: The test set's class names, else those of the counts."""
        return self._test_classes or self.counts.classes

    @property
    def counts(self) -> ClassCounts:
        """ClassCounts: The record in use.

        Raises:
            RuntimeError: If there is none.
        """
        if self.class_counts is None:
            raise RuntimeError(f'{type(self).__name__} has no class counts. Add to the config:\n    {HOOK_LINE}\nor '
                               'give the training images per class as `class_counts` of the metric (a list or a JSON '
                               'file).')
        return self.class_counts

    @property
    def class_counts_at_test(self) -> bool:
        """bool: False if the metric's own config gives the counts, so that ``ClassCountsHook`` need not find any."""
        return not self._override

    def set_class_counts(self, record: ClassCounts | Mapping) -> None:
        """Take the counts of the training set; ``ClassCountsHook`` calls this before training, validation and test.

        Counts given in the metric's own config stay.

        Args:
            record (ClassCounts | Mapping): The record, or what its ``to_dict`` makes.

        Raises:
            ValueError: If the record doesn't fit the classes of the test set.
        """
        if not self._override:
            self.class_counts = parse_class_counts(record)
        self._check_counts()

    def _check_counts(self) -> None:
        names, classes = self._test_classes, self.counts.classes
        if names is not None:
            self._check_length(len(names), 'the test set')
            moved = moved_labels(classes, names)
            if moved:
                first = moved[0]
                raise ValueError(f'{type(self).__name__}: the classes of the training and of the test set stand in '
                                 f'different orders; label {first} is {classes[first]!r} in the class counts and '
                                 f'{names[first]!r} in the test set. Check metainfo of train_dataloader.dataset and '
                                 'test_dataloader.dataset.')
        self._check_num_classes(self.counts.num_classes)

    def _check_length(self, num_classes: int, owner: str) -> None:
        if self.counts.num_classes != num_classes:
            where = self._field if self._override else 'the class counts of the training set'
            raise ValueError(f'{type(self).__name__}: {where} hold {self.counts.num_classes} classes, but {owner} has '
                             f'{num_classes}. Check num_classes of the head, the training and the test set, and '
                             '`class_counts`.')

    def _check_num_classes(self, num_classes: int) -> None:
        """Raise if an option of the metric doesn't go with this number of classes."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Reduce a batch to a few numbers per image.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): N samples with ``pred_score`` ``(C, )`` and ``gt_label`` (one class).

        Raises:
            RuntimeError: If there are no class counts.
            KeyError: If a sample lacks a key.
            ValueError: If shapes, labels or scores are unusable, or the counts don't fit the scores.
        """
        self.counts  # noqa: B018, raises without counts
        if not data_samples:
            return
        scores = torch.stack([self._get(sample, 'pred_score').reshape(-1) for sample in data_samples])
        labels = [self._get(sample, 'gt_label').reshape(-1) for sample in data_samples]
        several = next((label for label in labels if label.numel() != 1), None)
        if several is not None:
            raise ValueError(f'{type(self).__name__} needs one class per image, but a gt_label is {several.tolist()}.')
        self.process_batch(scores, torch.cat(labels))

    def process_batch(self, scores: torch.Tensor, labels: torch.Tensor) -> None:
        """Reduce a batch to a few numbers per image, given as tensors; ``BatchEvaluator`` calls this.

        Args:
            scores (torch.Tensor): Shape ``(N, C)``.
            labels (torch.Tensor): One class an image, shape ``(N, )``.

        Raises:
            RuntimeError, ValueError: As in :meth:`process`.
        """
        self.counts  # noqa: B018, raises without counts
        self._check_length(scores.shape[1], 'each pred_score')
        self._check_num_classes(scores.shape[1])
        labels = labels.to(scores.device)
        self.results.extend(self.reduce(scores, labels, true_class_rank(scores, labels)))

    def _get(self, sample: dict, key: str) -> torch.Tensor:
        if key not in sample:
            raise KeyError(f'{type(self).__name__} needs {key!r} in each data sample, got {sorted(sample)}. It '
                           'evaluates classifiers whose head predicts `pred_score` and data sets that give `gt_label`.')
        return torch.as_tensor(sample[key])

    @abstractmethod
    def reduce(self, scores: torch.Tensor, labels: torch.Tensor, ranks: torch.Tensor) -> list[tuple]:
        """What is kept of each image.

        Args:
            scores (torch.Tensor): Shape ``(N, C)``.
            labels (torch.Tensor): Shape ``(N, )``.
            ranks (torch.Tensor): See ``true_class_rank``, shape ``(N, )``.

        Returns:
            list[tuple]: N tuples of Python numbers.
        """
