"""Accuracy per class and per shot group (many, medium, few), and the harmonic mean of the groups.

The groups are those of Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019, arXiv:1904.05160,
taken from the *training* counts. All accuracies are in percent.
"""
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from numbers import Integral

import numpy as np
import torch

from ...datasets.shot_groups import FEW, MANY, shot_groups

Array = np.ndarray | torch.Tensor | Sequence
AVERAGES = ('micro', 'macro')


def check_topk(topk: int | Sequence[int], num_classes: int | None = None) -> tuple[int, ...]:
    """Bring ``topk`` into its canonical form.

    Args:
        topk (int | Sequence[int]): One or several k.
        num_classes (int, optional): Number of classes C; no k may exceed it.

    Returns:
        tuple[int]: The k, in the order given.

    Raises:
        ValueError: If there is no k, one is no integer >= 1, one stands twice, or one exceeds ``num_classes``.
    """
    values = tuple(topk) if isinstance(topk, Iterable) and not isinstance(topk, str) else (topk, )
    if not values:
        raise ValueError('topk must name at least one k, got none.')
    for k in values:
        if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
            raise ValueError(f'topk={topk!r}: each k must be an integer >= 1, got {k!r}.')
    if len(set(values)) != len(values):
        raise ValueError(f'topk={topk!r} names a k twice.')
    if num_classes is not None and max(values) > num_classes:
        raise ValueError(f'topk={topk!r}: top-{max(values)} is not defined for {num_classes} classes. Set `topk` of '
                         f'the metric in val_evaluator and test_evaluator to at most {num_classes}.')
    return tuple(int(k) for k in values)


def check_labels(labels: Array, num_classes: int) -> torch.Tensor:
    """Labels as an int64 tensor.

    Args:
        labels (Array): True classes, shape ``(N, )``.
        num_classes (int): Number of classes C.

    Returns:
        torch.Tensor: Shape ``(N, )``.

    Raises:
        TypeError: If the labels are no integers.
        ValueError: If the shape is not ``(N, )`` or a label lies outside of ``0 … C - 1``.
    """
    labels = torch.as_tensor(labels)
    if labels.ndim != 1:
        raise ValueError(f'labels must have the shape (N,), got {tuple(labels.shape)}.')
    if labels.numel() and (labels.is_floating_point() or labels.dtype == torch.bool):
        raise TypeError(f'labels must be integers, got {labels.dtype}.')
    labels = labels.long()
    outside = (labels < 0) | (labels >= num_classes)
    if outside.any():
        index = int(outside.nonzero()[0])
        raise ValueError(f'label {int(labels[index])} of test image {index} lies outside of the {num_classes} classes '
                         f'(0 … {num_classes - 1}). Check num_classes of the head and the annotations of the test set.')
    return labels


def true_class_rank(scores: Array, labels: Array) -> torch.Tensor:
    """Position of the true class when the classes are sorted by descending score; 0 is the best.

    A prediction is right among the top k exactly if its rank is below k, so the rank is all that accuracies need.
    Of equal scores the one with the lower class index comes first (as with ``argmax``), whatever the device.

    Args:
        scores (Array): Scores or logits of any floating dtype, shape ``(N, C)``.
        labels (Array): True classes, shape ``(N, )``.

    Returns:
        torch.Tensor: Ranks (int64) from 0 to C - 1, shape ``(N, )``, on the device of the scores.

    Raises:
        TypeError: If the labels are no integers.
        ValueError: If shapes don't fit, a label is outside of the classes, or a score is NaN.
    """
    scores = torch.as_tensor(scores)
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(f'scores must have the shape (N, C) with C >= 1, got {tuple(scores.shape)}.')
    num_classes = scores.shape[1]
    labels = check_labels(labels, num_classes).to(scores.device)
    if len(labels) != len(scores):
        raise ValueError(f'{len(labels)} labels for {len(scores)} rows of scores.')
    nan = scores.isnan().any(dim=1)
    if nan.any():
        raise ValueError(f'the scores of test image {int(nan.nonzero()[0])} are NaN ({int(nan.sum())} of {len(scores)} '
                         'images in this batch): the network has diverged. Lower optim_wrapper.optimizer.lr or look at '
                         'its loss.')
    own = scores.gather(1, labels[:, None])
    before = torch.arange(num_classes, device=scores.device)[None] < labels[:, None]
    return ((scores > own) | ((scores == own) & before)).sum(dim=1)


def class_hits(ranks: Array, labels: Array, num_classes: int, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Right predictions and images of each class.

    Args:
        ranks (Array): What :func:`true_class_rank` returns, shape ``(N, )``.
        labels (Array): True classes, shape ``(N, )``.
        num_classes (int): Number of classes C.
        k (int): A rank below k is right. Defaults to 1.

    Returns:
        tuple[np.ndarray, np.ndarray]: Right predictions and images, int64, each of shape ``(C, )``.

    Raises:
        TypeError: If the labels are no integers.
        ValueError: If lengths differ, a label is outside of the classes, or k is not in ``1 … C``.
    """
    check_topk(k, num_classes)
    ranks, labels = torch.as_tensor(ranks).cpu().numpy(), check_labels(labels, num_classes).cpu().numpy()
    if ranks.shape != labels.shape:
        raise ValueError(f'{ranks.shape} ranks for {labels.shape} labels.')
    correct = np.bincount(labels[ranks < k], minlength=num_classes)
    return correct, np.bincount(labels, minlength=num_classes)


def per_class_accuracy(scores: Array, labels: Array, k: int = 1) -> np.ndarray:
    """Top-k accuracy of each class, in percent.

    Args:
        scores (Array): Scores or logits, shape ``(N, C)``.
        labels (Array): True classes, shape ``(N, )``.
        k (int): Defaults to 1.

    Returns:
        np.ndarray: Shape ``(C, )``; NaN for a class without test images.

    Raises:
        TypeError: If the labels are no integers.
        ValueError: As :func:`true_class_rank` and :func:`check_topk`.
    """
    ranks = true_class_rank(scores, labels)
    return percent(*class_hits(ranks, labels, torch.as_tensor(scores).shape[1], k))


def percent(correct: np.ndarray, total: np.ndarray) -> np.ndarray:
    """``100 * correct / total``, NaN where ``total`` is 0; shape ``(C, )``."""
    return np.divide(100.0 * correct, total, out=np.full(len(total), np.nan), where=total > 0)


def harmonic_mean(values: Iterable[float]) -> float:
    """Harmonic mean of accuracies; 0 if one of them is 0.

    Args:
        values (Iterable[float]): Numbers >= 0, at least one. Groups that don't exist are simply not among them.

    Returns:
        float: The harmonic mean.

    Raises:
        ValueError: If there is no value, or one is negative or NaN.
    """
    values = [float(value) for value in values]
    if not values:
        raise ValueError('the harmonic mean of no values is not defined.')
    if not all(value >= 0 for value in values):
        raise ValueError(f'the harmonic mean needs numbers >= 0, got {values}.')
    if min(values) == 0:
        return 0.0
    return len(values) / sum(1.0 / value for value in values)


def group_accuracy_from_hits(correct: np.ndarray, total: np.ndarray, counts: Sequence[int], few: int = FEW,
                             many: int = MANY, average: str = 'micro') -> 'OrderedDict[str, float]':
    """Accuracies of the shot groups from right predictions and images per class.

    Args:
        correct (np.ndarray): Right predictions per class, shape ``(C, )``.
        total (np.ndarray): Test images per class, shape ``(C, )``.
        counts (Sequence[int]): *Training* images per class, shape ``(C, )``.
        few (int): A class with fewer training images is a few-shot class. Defaults to 20.
        many (int): A class with more training images is a many-shot class. Defaults to 100.
        average (str): ``'micro'``: right predictions over images of the group's classes. ``'macro'``: mean of the
            accuracies of the group's classes that have test images. Both agree on a balanced test set. Defaults to
            ``'micro'``.

    Returns:
        OrderedDict[str, float]: ``'all'``, those of ``'many'``, ``'medium'``, ``'few'`` that have test images, and
        ``'hmean'``, the harmonic mean of these groups; in percent.

    Raises:
        ValueError: If lengths differ, ``average`` is unknown, or there is no test image.
    """
    if average not in AVERAGES:
        raise ValueError(f'average={average!r} is unknown; it must be one of {AVERAGES}.')
    if len(counts) != len(total):
        raise ValueError(f'class counts hold {len(counts)} classes, but the scores have {len(total)}.')
    if not total.any():
        raise ValueError('there are no test images to compute an accuracy of. Check the dataset of test_dataloader.')

    def accuracy(classes: np.ndarray) -> float:
        if average == 'micro':
            return float(100.0 * correct[classes].sum() / total[classes].sum())
        return float(np.nanmean(percent(correct[classes], total[classes])))

    result = OrderedDict(all=accuracy(np.arange(len(total))))
    for name, classes in shot_groups(counts, few, many).items():
        if total[classes].any():
            result[name] = accuracy(classes)
    result['hmean'] = harmonic_mean(value for name, value in result.items() if name != 'all')
    return result


def shot_group_accuracy(scores: Array, labels: Array, counts: Sequence[int], topk: int | Sequence[int] = (1, 5),
                        few: int = FEW, many: int = MANY, average: str = 'micro') -> 'OrderedDict[str, float]':
    """Top-k accuracy over all images and in each shot group, in percent.

    Args:
        scores (Array): Scores or logits, shape ``(N, C)``.
        labels (Array): True classes, shape ``(N, )``.
        counts (Sequence[int]): *Training* images per class, shape ``(C, )``.
        topk (int | Sequence[int]): Defaults to ``(1, 5)``.
        few (int): A class with fewer training images is a few-shot class. Defaults to 20.
        many (int): A class with more training images is a many-shot class. Defaults to 100.
        average (str): ``'micro'`` (images) or ``'macro'`` (classes); see :func:`group_accuracy_from_hits`.

    Returns:
        OrderedDict[str, float]: ``'all_top1'``, ``'many_top1'``, …, ``'hmean_top1'``, then the same for the next k. A
        group without classes or without test images is absent, and doesn't count in ``'hmean'``.

    Raises:
        TypeError: If the labels are no integers.
        ValueError: If shapes or lengths don't fit, a value is out of its range, or there is no test image.

    Example:
        >>> scores = torch.eye(3)[[0, 1, 1, 0]]
        >>> dict(shot_group_accuracy(scores, [0, 1, 2, 0], [500, 50, 5], topk=1))
        {'all_top1': 75.0, 'many_top1': 100.0, 'medium_top1': 100.0, 'few_top1': 0.0, 'hmean_top1': 0.0}
    """
    ranks = true_class_rank(scores, labels)
    num_classes = torch.as_tensor(scores).shape[1]
    result = OrderedDict()
    for k in check_topk(topk, num_classes):
        hits = class_hits(ranks, labels, num_classes, k)
        for name, value in group_accuracy_from_hits(*hits, counts, few, many, average).items():
            result[f'{name}_top{k}'] = value
    return result
