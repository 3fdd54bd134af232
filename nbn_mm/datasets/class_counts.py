"""Class counts: the record that losses, samplers and evaluators get, and the one place that takes it."""
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .dataset_labels import cat_ids, leaves_of

FIELD = '`class_counts` of ClassCountsHook'


@dataclass(frozen=True)
class ClassCounts:
    """Training images (and instances) of each class.

    Args:
        classes (Sequence[str]): Class names, in label order, length C.
        images (Sequence[int]): Distinct training images that hold the class, length C.
        instances (Sequence[int], optional): Boxes of the class, length C; None for classification.
        num_images (int, optional): Distinct training images that hold any class, in detection, where an image holds
            several; None for classification, and for counts given by hand.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If lengths differ, there is no class, or a count is negative.
    """
    classes: tuple[str, ...]
    images: tuple[int, ...]
    instances: tuple[int, ...] | None = None
    num_images: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, 'classes', tuple(str(name) for name in self.classes))
        if not self.classes:
            raise ValueError('class counts need at least one class, got none.')
        for name in ('images', 'instances'):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, self._checked(name, values))
        total = self.num_images
        if total is not None and (isinstance(total, bool) or not isinstance(total, Integral)
                                  or total < max(self.images)):
            raise ValueError(f'class counts: num_images={total!r} must be an integer, and at least the '
                             f'{max(self.images)} images of the largest class.')

    def _checked(self, name: str, values: Sequence) -> tuple[int, ...]:
        values = tuple(values)
        if len(values) != len(self.classes):
            raise ValueError(f'class counts: {len(values)} numbers of {name} for {len(self.classes)} classes.')
        for index, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise TypeError(f'class counts: {name} of class {index} ({self.classes[index]}) must be an integer, '
                                f'got {value!r}.')
            if value < 0:
                raise ValueError(f'class counts: {name} of class {index} ({self.classes[index]}) must not be negative, '
                                 f'got {value}.')
        return tuple(int(value) for value in values)

    @property
    def num_classes(self) -> int:
        """int: Number of classes C."""
        return len(self.classes)

    @property
    def zero_classes(self) -> tuple[int, ...]:
        """tuple[int]: Indices of the classes without any image."""
        return tuple(index for index, count in enumerate(self.images) if count == 0)

    @property
    def hash(self) -> str:
        """str: First 16 hex digits of a sha256 over classes, images, instances and, if known, num_images."""
        content = [self.classes, self.images, self.instances]
        content += [] if self.num_images is None else [self.num_images]
        text = json.dumps(content, separators=(',', ':'), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def imbalance_factor(self) -> float | None:
        """float | None: Largest over smallest count of the classes that have images; None if none has."""
        counts = [count for count in self.images if count > 0]
        return max(counts) / min(counts) if counts else None

    @property
    def gini(self) -> float | None:
        """float | None: Gini coefficient of the images over all C classes (0: balanced); None without images."""
        total = sum(self.images)
        if total == 0:
            return None
        weighted = sum((2 * rank - self.num_classes - 1) * count for rank, count in enumerate(sorted(self.images), 1))
        return weighted / (self.num_classes * total)

    @property
    def is_named(self) -> bool:
        """bool: Whether the classes have names; those of a list of numbers are ``'0'``, ``'1'``, …"""
        return self.classes != tuple(map(str, range(self.num_classes)))

    def in_order_of(self, classes: Sequence[str]) -> 'ClassCounts':
        """The same counts with the classes in the label order of a data set.

        Args:
            classes (Sequence[str]): Class names in label order. A record without names, or with other names than these,
                is one by label already.

        Returns:
            ClassCounts: The record.

        Raises:
            ValueError: If the numbers of classes differ, or some names stand at other labels and the rest is unknown.
        """
        classes = tuple(str(name) for name in classes)
        _check_length(self.num_classes, len(classes))
        if self.classes == classes or not self.is_named:
            return self
        if len(set(classes)) == len(classes) and set(classes) == set(self.classes):
            order = [self.classes.index(name) for name in classes]
            instances = None if self.instances is None else [self.instances[index] for index in order]
            return ClassCounts(classes, [self.images[index] for index in order], instances, self.num_images)
        moved = moved_labels(self.classes, classes)
        if moved:
            raise ValueError(f'its classes stand in another order than those of the data set and are not all the same: '
                             f'label {moved[0]} is {self.classes[moved[0]]!r} there and {classes[moved[0]]!r} in the '
                             'data set.')
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, int, str and None, which ``torch.load(weights_only=True)`` and JSON take."""
        return dict(
            classes=list(self.classes),
            images=list(self.images),
            instances=None if self.instances is None else list(self.instances),
            num_images=self.num_images,
            hash=self.hash)

    @classmethod
    def from_dict(cls, record: Mapping) -> 'ClassCounts':
        """The inverse of :meth:`to_dict`.

        Args:
            record (Mapping): ``classes``, ``images`` and, optionally, ``instances``, ``num_images`` and ``hash``.

        Raises:
            ValueError: If a key is missing, or ``hash`` is there and doesn't fit the counts.
        """
        missing = [key for key in ('classes', 'images') if not _is_list(record.get(key))]
        if missing:
            raise ValueError(f'class counts record without a list under {missing}; its keys are {sorted(record)}.')
        instances = record.get('instances')
        if instances is not None and not _is_list(instances):
            raise ValueError(f'class counts record: `instances` must be a list or None, got {instances!r}.')
        counts = cls(record['classes'], record['images'], instances, record.get('num_images'))
        if record.get('hash') not in (None, counts.hash):
            raise ValueError(f"class counts record: its hash {record['hash']!r} doesn't fit its numbers, which hash to "
                             f'{counts.hash!r}. It was edited or damaged; remove `hash` if the edit is meant.')
        return counts


def _is_list(value: Any) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))


def parse_class_counts(value: ClassCounts | Sequence[int] | Mapping | str | PathLike,
                       num_classes: int | None = None,
                       classes: Sequence[str] | None = None,
                       field: str = FIELD) -> ClassCounts:
    """Read counts that a user gives by hand, which override those of the training set.

    Args:
        value (ClassCounts | Sequence[int] | Mapping | str | PathLike): A record, a list of images per class, a mapping
            of class names to images, a mapping as :meth:`ClassCounts.to_dict` makes it, or the path of a JSON file that
            holds a list or such a mapping.
        num_classes (int, optional): Number of classes that is expected.
        classes (Sequence[str], optional): Class names in label order: names for a list, and the order of a mapping of
            names or of a record. Without them a list gets the names ``'0'``, ``'1'``, … and the others keep their own
            order.
        field (str): What the error messages call the config field.

    Returns:
        ClassCounts: The record.

    Raises:
        FileNotFoundError: If the file doesn't exist.
        TypeError: If ``value`` or a count is of a wrong type.
        ValueError: If the file is no JSON, or numbers, names or lengths don't fit.
    """
    source = field
    if isinstance(value, (str, PathLike)):
        source = f'{field} (file {str(value)!r})'
        value = _load_json(Path(value), field)
    expected = len(classes) if classes is not None else num_classes
    if classes is not None and num_classes is not None and len(classes) != num_classes:
        raise ValueError(f'{source}: {len(classes)} class names for num_classes={num_classes}.')
    try:
        if isinstance(value, ClassCounts):
            counts = value
        elif isinstance(value, Mapping) and _is_list(value.get('images')):
            counts = ClassCounts.from_dict(value)
        elif isinstance(value, Mapping):
            counts = _from_names(value, classes)
        elif _is_list(value):
            _check_length(len(value), expected)
            counts = ClassCounts(tuple(classes) if classes is not None else map(str, range(len(value))), tuple(value))
        else:
            raise TypeError(f'must be a list, a mapping or the path of a JSON file, got {type(value).__name__}.')
        _check_length(counts.num_classes, expected)
        if classes is not None:
            counts = counts.in_order_of(classes)
    except (TypeError, ValueError) as error:
        raise type(error)(f'{source}: {error}') from None
    return counts


def _check_length(length: int, expected: int | None) -> None:
    if expected is not None and length != expected:
        raise ValueError(f'it holds {length} classes, but num_classes={expected}.')


def _from_names(value: Mapping, classes: Sequence[str] | None) -> ClassCounts:
    if classes is None:
        return ClassCounts(tuple(value), tuple(value.values()))
    missing = [name for name in classes if name not in value]
    unknown = sorted(set(value) - set(classes))
    if missing or unknown:
        raise ValueError(f'it holds {len(value)} classes, but num_classes={len(classes)}; '
                         f'missing {missing[:5]}, unknown {unknown[:5]}.')
    return ClassCounts(tuple(classes), tuple(value[name] for name in classes))


def moved_labels(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Labels whose name is that of another label of a data set.

    Args:
        names (Sequence[str]): Class names by label, length C.
        classes (Sequence[str]): Those of the data set, length C.

    Returns:
        list[int]: The labels; names that the data set does not know are other spellings and move nothing.
    """
    known = set(classes)
    return [label for label, pair in enumerate(zip(names, classes, strict=True))
            if pair[0] != pair[1] and pair[0] in known]


def _load_json(path: Path, field: str) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f'{field}: there is no file {str(path)!r}.')
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{field}: {str(path)!r} is no JSON file ({error}).') from None


def count_classes(dataset: Any) -> ClassCounts:
    """Count the classes of a training set, in time linear in its images.

    Wrappers are looked through. A concatenation adds (its parts must agree on the classes); ``torch.utils.data.Subset``
    and ``indices`` of a data set restrict; repetition, class-balanced repetition and image mixing change nothing,
    because the counts are those of distinct training images. What a data set filters out is not counted.
    In detection, ``images`` counts the images that hold the class and ``instances`` all its boxes, crowd boxes
    included, as the host's ``get_cat_ids`` reports them.

    Args:
        dataset: A data set of mmengine's interface (``metainfo['classes']`` and ``get_cat_ids`` or ``get_data_info``),
            or a wrapper of such data sets.

    Returns:
        ClassCounts: The record.

    Raises:
        TypeError: If the labels of a data set can't be read.
        ValueError: If there are no class names, parts of a concatenation differ in them, a label lies outside of the
            classes, or the set is empty.
    """
    leaves = list(leaves_of(dataset))
    classes = _common_classes([leaf for leaf, _ in leaves])
    images = np.zeros(len(classes), dtype=np.int64)
    instances = np.zeros(len(classes), dtype=np.int64)
    detection = bool(leaves)
    total = labelled = 0
    for leaf, indices in leaves:
        labels, owners, size, has_boxes = _labels(leaf, indices, len(classes))
        instances += np.bincount(labels, minlength=len(classes))
        images += np.bincount(np.unique(owners * len(classes) + labels) % len(classes), minlength=len(classes))
        detection &= has_boxes
        total += size
        labelled += len(np.unique(owners))
    if total == 0:
        raise ValueError(f'{type(dataset).__name__} holds no images, so there are no class counts. Check its '
                         'data_root, ann_file, filter_cfg and indices in train_dataloader.')
    if not detection:
        return ClassCounts(classes, images.tolist())
    return ClassCounts(classes, images.tolist(), instances.tolist(), labelled)


def check_labels(dataset: Any, num_classes: int) -> None:
    """Raise if a data set holds a label outside of the classes, which would else end a run in its middle.

    Labels that can't be read before they are loaded are let pass.

    Args:
        dataset: As in :func:`count_classes`.
        num_classes (int): Number of classes C.

    Raises:
        ValueError: Naming data set, image and label.
    """
    try:
        for leaf, indices in leaves_of(dataset):
            _labels(leaf, indices, num_classes)
    except TypeError:
        return


def _common_classes(leaves: list[Any]) -> tuple[str, ...]:
    first: tuple[str, ...] | None = None
    for leaf in leaves:
        classes = (getattr(leaf, 'metainfo', None) or {}).get('classes')
        if not classes or isinstance(classes, str):
            raise ValueError(f"class counts: {type(leaf).__name__} has no class names. Set "
                             'metainfo=dict(classes=[...]) in its config.')
        classes = tuple(str(name) for name in classes)
        if first is not None and classes != first:
            shared = min(len(first), len(classes))
            where = next((i for i in range(shared) if first[i] != classes[i]), shared)
            raise ValueError(
                f'class counts: the concatenated data sets differ in their classes from label {where} on: '
                f'{type(leaves[0]).__name__} has {len(first)} classes ({list(first[where:where + 3])} …), '
                f'{type(leaf).__name__} has {len(classes)} ({list(classes[where:where + 3])} …).')
        first = classes
    return first or ()


def _labels(dataset: Any, indices: np.ndarray | None, num_classes: int) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """All labels of a data set, the image of each, the number of images, and whether they are labels of boxes."""
    positions = range(len(dataset)) if indices is None else indices.tolist()
    first = dataset.get_data_info(positions[0]) if len(positions) and hasattr(dataset, 'get_data_info') else {}
    labels: list[int] = []
    owners: list[int] = []
    for index in positions:
        for label in cat_ids(dataset, index):
            if isinstance(label, (bool, np.bool_)) or not isinstance(label, Integral):
                raise TypeError(f'{type(dataset).__name__}: label {label!r} of image {index} is no integer.')
            if not 0 <= label < num_classes:
                raise ValueError(f'{type(dataset).__name__}: image {index} has label {label}, outside of the '
                                 f'{num_classes} classes (0 … {num_classes - 1}). Check its ann_file and its '
                                 'metainfo.classes.')
            labels.append(int(label))
            owners.append(index)
    return np.array(labels, dtype=np.int64), np.array(owners, dtype=np.int64), len(positions), 'instances' in first
