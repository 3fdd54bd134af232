"""Class counts from the training set to every loss, head and evaluator that needs them, and into the checkpoint."""
import copy
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import DATASETS, HOOKS
from torch import nn

from ...datasets.class_counts import ClassCounts, check_labels, count_classes, parse_class_counts
from ...datasets.frequency_groups import COMMON, GROUPS, RARE, frequency_of
from ...datasets.shot_groups import FEW, MANY, check_thresholds, shot_groups

KEY = 'class_counts'


def num_classes_fields(model: nn.Module) -> Iterator[tuple[str, int]]:
    """The config fields of a classifier or detector that say how many classes it has, with their values.

    Args:
        model (nn.Module): The model, not wrapped.

    Yields:
        tuple[str, int]: For example ``('model.head.num_classes', 10)``.
    """
    for field in ('head', 'bbox_head', 'roi_head.bbox_head', 'roi_head.mask_head'):
        part = model
        for name in field.split('.'):
            part = getattr(part, name, None)
        parts = list(enumerate(part)) if isinstance(part, nn.ModuleList) else [(None, part)]
        for index, module in parts:
            num_classes = getattr(module, 'num_classes', None)
            # That of a class-agnostic mask head shapes nothing.
            if isinstance(num_classes, int) and not getattr(module, 'class_agnostic', False):
                yield f"model.{field}{'' if index is None else f'[{index}]'}.num_classes", num_classes


def check_num_classes(model: nn.Module, record: ClassCounts, source: str) -> None:
    """Raise if the model's number of classes is not that of the record.

    Args:
        model (nn.Module): The model, not wrapped.
        record (ClassCounts): Class counts.
        source (str): Where the counts come from.

    Raises:
        ValueError: Naming both numbers and the config field.
    """
    for field, num_classes in num_classes_fields(model):
        if num_classes != record.num_classes:
            raise ValueError(f'{field}={num_classes}, but the class counts from {source} have {record.num_classes} '
                             f'classes. Change {field}, or the data set or `class_counts`.')


def describe_difference(old: ClassCounts, new: ClassCounts) -> str | None:
    """What differs between two records, in words; None if nothing does.

    Args:
        old (ClassCounts): The record of the checkpoint.
        new (ClassCounts): The record of this run.
    """
    if old.num_classes != new.num_classes:
        return f'{old.num_classes} classes in the checkpoint, {new.num_classes} now'
    for what in ('classes', 'images', 'instances'):
        before, after = getattr(old, what), getattr(new, what)
        if before == after:
            continue
        if before is None or after is None:
            return f"{what} are {'not counted' if before is None else 'counted'} in the checkpoint, but now " \
                   f"they are {'not' if after is None else 'counted'}"
        index = next(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
        if what == 'classes':
            return f'class {index} is {before[index]!r} in the checkpoint, {after[index]!r} now'
        number = sum(a != b for a, b in zip(before, after, strict=True))
        return (f'{what} of {number} classes; the first is class {index} ({new.classes[index]}), {before[index]} in '
                f'the checkpoint, {after[index]} now')
    if None not in (old.num_images, new.num_images) and old.num_images != new.num_images:
        return f'{old.num_images} images with an object in the checkpoint, {new.num_images} now'
    return None


@HOOKS.register_module()
class ClassCountsHook(Hook):
    """Take the class counts once, hand them over, keep them in the checkpoint.

    Stands in ``default_hooks`` under the name ``class_counts``::

        default_hooks = dict(class_counts=dict(type='ClassCountsHook'))

    Before training, validation and test, each part of the model and each metric with a method
    ``set_class_counts(record)`` gets the record. It is written to ``checkpoint['meta']['class_counts']``.

    - Training: the option ``class_counts``, else the training set. A resumed run whose record differs is an error;
      ``load_from`` takes the counts of the new set.
    - Test: the option, else the checkpoint, else the training set that the config names (only the data set is built).
      Parts that need counts in training alone (``class_counts_at_test = False``) don't cause the last.

    Args:
        class_counts (list[int] | dict | str, optional): Training images per class, or a JSON file with them, instead of
            those of the training set.
        few (int): For the log line of group sizes: classes with fewer images are few-shot. Defaults to 20.
        many (int): Classes with more images are many-shot. Defaults to 100.

    Raises:
        ValueError: If counts and model disagree in the number of classes, a label lies outside of them, or a resumed
            run has other counts.
        RuntimeError: If a metric needs counts at test, and there are none.
    """
    priority = 'VERY_HIGH'

    def __init__(self,
                 class_counts: Sequence[int] | dict | str | PathLike | None = None,
                 few: int = FEW,
                 many: int = MANY) -> None:
        check_thresholds(few, many)
        self.class_counts = class_counts
        self.few = few
        self.many = many
        self.record: ClassCounts | None = None
        self._loaded: ClassCounts | None = None
        self._resumed = False

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Read the record of the checkpoint, if it has one."""
        meta = checkpoint.get('meta') or {} if isinstance(checkpoint, dict) else {}
        self._loaded = ClassCounts.from_dict(meta[KEY]) if KEY in meta else None
        self._resumed = bool(getattr(runner, '_resume', False))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Write the record to the checkpoint: plain lists, numbers and strings."""
        if self.record is not None:
            checkpoint.setdefault('meta', {})[KEY] = self.record.to_dict()

    def before_train(self, runner: Any) -> None:
        """Count, check, log and hand over."""
        dataset = runner.train_loop.dataloader.dataset
        record, source = self._configured(_classes_of(dataset), training=True), '`class_counts` of ClassCountsHook'
        if record is None:
            record, source = count_classes(dataset), 'the training set'
        else:
            check_labels(dataset, record.num_classes)
        check_num_classes(_unwrapped(runner.model), record, source)
        if _metrics(runner, 'val'):  # which would find a wrong label only after the first epoch
            check_labels(runner.val_loop.dataloader.dataset, record.num_classes)
        if self._resumed and self._loaded is not None:
            difference = describe_difference(self._loaded, record)
            if difference is not None:
                raise ValueError(f'resume: the class counts from {source} differ from those of the checkpoint: '
                                 f'{difference}. Resume with the same training set (train_dataloader.dataset), or '
                                 'start anew with `load_from` and `resume=False`.')
        self._log(runner, record, source)
        self._hand_over(runner, record)

    def before_val(self, runner: Any) -> None:
        """Hand over; a validation outside of training finds its counts as a test does."""
        self._before_evaluation(runner, 'val')

    def before_test(self, runner: Any) -> None:
        """Find the counts and hand them over."""
        self._before_evaluation(runner, 'test')

    def _before_evaluation(self, runner: Any, mode: str) -> None:
        metrics = _metrics(runner, mode)
        record = self.record
        if record is None:
            record, source = self._find(runner, metrics, getattr(runner, f'{mode}_loop').dataloader.dataset)
            if record is None:
                return
            check_num_classes(_unwrapped(runner.model), record, source)
            self._log(runner, record, source)
        self._hand_over(runner, record, metrics)

    def _find(self, runner: Any, metrics: list[Any], evaluated: Any) -> tuple[ClassCounts | None, str]:
        known = self._loaded.classes if self._loaded is not None and self._loaded.is_named else _classes_of(evaluated)
        configured = self._configured(known, training=False)
        if configured is not None:
            return configured, '`class_counts` of ClassCountsHook'
        if self._loaded is not None:
            return self._loaded, 'the checkpoint'
        takers = [part for part in _takers(runner.model) + metrics if getattr(part, 'class_counts_at_test', True)]
        if not takers:
            return None, ''
        dataset = (runner.cfg.get('train_dataloader') or {}).get('dataset')
        names = ', '.join(sorted({type(part).__name__ for part in takers}))
        if dataset is None:
            raise RuntimeError(f'{names} need class counts, but neither the checkpoint nor the config holds any. Give '
                               "`default_hooks = dict(class_counts=dict(type='ClassCountsHook', class_counts=[...]))`, "
                               'or name the training set in train_dataloader.dataset.')
        runner.logger.info('Class counts: the checkpoint holds none; counting train_dataloader.dataset.')
        return count_classes(DATASETS.build(copy.deepcopy(dataset))), 'train_dataloader.dataset'

    def _configured(self, classes: Sequence[str] | None, training: bool) -> ClassCounts | None:
        """The option in the label order of these classes; a test leaves a list to the checks of the metrics."""
        if self.class_counts is None:
            return None
        record = parse_class_counts(self.class_counts)
        if not record.is_named and not training and len(classes or ()) != record.num_classes:
            return record
        if classes:
            return parse_class_counts(self.class_counts, classes=classes)
        if record.is_named:
            raise ValueError('`class_counts` of ClassCountsHook names its classes, but neither the data set nor the '
                             'checkpoint does, so that their labels are unknown. Give a list in label order, or set '
                             'metainfo=dict(classes=[...]) of the data set.')
        return record

    def _hand_over(self, runner: Any, record: ClassCounts, metrics: list[Any] | None = None) -> None:
        self.record = record
        metrics = _metrics(runner, 'val') if metrics is None else metrics
        for part in [*_takers(runner.model), *metrics]:
            part.set_class_counts(record)

    def _log(self, runner: Any, record: ClassCounts, source: str) -> None:
        if record.instances is None:
            total = f'{sum(record.images)} images'
            groups = {name: len(indices) for name, indices in
                      shot_groups(record.images, self.few, self.many).items()}
        else:  # an image holds several classes
            total = f'{record.num_images} images, ' if record.num_images is not None else ''
            total += f'{sum(record.instances)} instances'
            frequencies = frequency_of(record.images)
            limits = dict(r=f'<= {RARE} images', c=f'<= {COMMON}', f=f'> {COMMON}')
            groups = {f'{name} ({limits[letter]})': frequencies.count(letter) for letter, name in GROUPS.items()
                      if letter in frequencies}
        runner.logger.info(
            f'Class counts from {source}: {record.num_classes} classes, {total}, '
            + ('no images; ' if record.gini is None else
               f'imbalance factor {record.imbalance_factor:.4g}, Gini {record.gini:.4f}; ')
            + ', '.join(f'{name} {count}' for name, count in groups.items()) + f'; hash {record.hash}.')


def _classes_of(dataset: Any) -> Sequence[str] | None:
    return (getattr(dataset, 'metainfo', None) or {}).get('classes')


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _takers(model: nn.Module) -> list[nn.Module]:
    return [module for module in _unwrapped(model).modules() if hasattr(module, 'set_class_counts')]


def _metrics(runner: Any, mode: str) -> list[Any]:
    """Metrics of a loop that take counts; of none if the run has no such loop."""
    loop = getattr(runner, f'{mode}_loop')
    metrics = getattr(getattr(loop, 'evaluator', None), 'metrics', ())
    return [metric for metric in metrics if hasattr(metric, 'set_class_counts')]
