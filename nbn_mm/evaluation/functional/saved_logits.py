"""Logits of a data set in a file, with what post-hoc calibration needs beside them."""
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path

import numpy as np

ADVICE = 'tools/analysis_tools/save_logits.py writes such files.'


@dataclass(frozen=True)
class SavedLogits:
    """Logits of N images over C classes.

    Args:
        logits (np.ndarray): Before the softmax, float32, shape ``(N, C)``.
        labels (np.ndarray): True classes, int64, shape ``(N, )``.
        classes (np.ndarray): Class names, shape ``(C, )``.
        counts (np.ndarray): Training images per class, int64, shape ``(C, )``.
        split (str): Of which set: ``'train'``, ``'val'`` or ``'test'``.
        weight (np.ndarray, optional): Weight of the linear classifier that gives these logits, shape ``(C, D)``.
        bias (np.ndarray, optional): Its bias, shape ``(C, )``.
        features (np.ndarray, optional): What the classifier gets, shape ``(N, D)``.

    Raises:
        ValueError: If shapes don't fit, a label is out of range, or a logit is not finite.
    """
    logits: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    counts: np.ndarray
    split: str
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    features: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.logits.ndim != 2 or not self.logits.size:
            raise ValueError(f'saved logits must have the shape (N, C), got {self.logits.shape}.')
        rows, num_classes = self.logits.shape
        expected = dict(labels=(rows, ), classes=(num_classes, ), counts=(num_classes, ), bias=(num_classes, ))
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f'saved logits: {name} have the shape {value.shape}, not {shape} as the logits '
                                 f'{self.logits.shape} ask for.')
        for name, length in dict(weight=num_classes, features=rows).items():
            value = getattr(self, name)
            if value is not None and (value.ndim != 2 or len(value) != length):
                raise ValueError(f'saved logits: {name} have the shape {value.shape}, not ({length}, D).')
        if self.labels.min() < 0 or self.labels.max() >= num_classes:
            raise ValueError(f'saved logits: the labels reach from {self.labels.min()} to {self.labels.max()}, outside '
                             f'of the {num_classes} classes.')
        if not np.isfinite(self.logits).all():
            row = int((~np.isfinite(self.logits)).any(axis=1).nonzero()[0][0])
            raise ValueError(f'saved logits: those of image {row} are not finite. The network has diverged.')


def write_logits(saved: SavedLogits, path: str | PathLike) -> None:
    """Write a compressed ``.npz``; folders on the way are made.

    Raises:
        ValueError: If the name doesn't end in .npz.
    """
    check_logits_path(path)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {field.name: getattr(saved, field.name) for field in fields(saved)}
    np.savez_compressed(path, **{name: value for name, value in values.items() if value is not None})


def check_logits_path(path: str | PathLike) -> None:
    """Raise unless a name ends in .npz."""
    if not str(path).endswith('.npz'):
        raise ValueError(f'the file for the logits, {str(path)!r}, must end in .npz.')


def read_logits(path: str | PathLike) -> SavedLogits:
    """The inverse of :func:`write_logits`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of saved logits.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no file of logits {str(path)!r}. {ADVICE}')
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f'{str(path)!r} is no file of saved logits: {error}. {ADVICE}') from None
    except Exception as error:  # a damaged archive fails in as many ways as there are parts in it
        raise ValueError(f'{str(path)!r} is damaged: {type(error).__name__}: {error}.') from None
    known = {field.name for field in fields(SavedLogits)}
    missing = {'logits', 'labels', 'classes', 'counts', 'split'} - set(content)
    if missing or set(content) - known:
        raise ValueError(f'{str(path)!r} is no file of saved logits: it holds {sorted(content)}. {ADVICE}')
    content['split'] = str(content['split'])
    return SavedLogits(**content)
