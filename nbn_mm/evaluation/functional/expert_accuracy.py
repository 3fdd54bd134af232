"""Accuracy of each expert of a multi-expert classifier, per shot group, and how far the experts differ."""
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from ...datasets.shot_groups import FEW, MANY
from .shot_accuracy import Array, check_labels, class_hits, group_accuracy_from_hits

NOT_ASKED = -1


def expert_accuracy(labels: Array, predictions: Array, expert_predictions: Array, counts: Sequence[int],
                    few: int = FEW, many: int = MANY) -> 'OrderedDict[str, float]':
    """Top-1 accuracy of the ensemble and of each expert, in percent.

    Args:
        labels (Array): True classes, shape ``(N, )``.
        predictions (Array): Classes that the ensemble predicts, shape ``(N, )``.
        expert_predictions (Array): Classes that the experts predict, shape ``(N, E)``; -1 where one was not asked.
        counts (Sequence[int]): *Training* images per class, shape ``(C, )``.
        few (int): A class with fewer training images is a few-shot class. Defaults to 20.
        many (int): A class with more training images is a many-shot class. Defaults to 100.

    Returns:
        OrderedDict[str, float]: ``'ensemble_top1'``, ``'ensemble_many_top1'``, …, and the same with the number of each
        expert in the place of ``ensemble``, over the images on which it was asked; ``'disagreement'``: on how many
        images two experts predict different classes, the mean over pairs; if there was routing also ``'{k}_asked'``,
        the share of the images, and ``'mean_used'``, the mean number of experts. An expert that was never asked has no
        accuracy.

    Raises:
        TypeError: If the labels are no integers.
        ValueError: If shapes don't fit, there is no test image, or a label is outside of the classes.
    """
    labels = check_labels(labels, len(counts)).cpu().numpy()
    predictions, experts = np.asarray(predictions), np.asarray(expert_predictions)
    if predictions.shape != labels.shape or experts.ndim != 2 or len(experts) != len(labels):
        raise ValueError(f'{labels.shape} labels do not go with predictions {predictions.shape} of the ensemble and '
                         f'{experts.shape} of its experts, which must be (N,) and (N, E).')
    result: OrderedDict[str, float] = OrderedDict()

    def add(name: str, predicted: np.ndarray, rows: np.ndarray) -> None:
        hits = class_hits((predicted[rows] != labels[rows]).astype(np.int64), labels[rows], len(counts))
        for group, value in group_accuracy_from_hits(*hits, counts, few, many).items():
            result[f'{name}_top1' if group == 'all' else f'{name}_{group}_top1'] = value

    asked = experts != NOT_ASKED
    add('ensemble', predictions, np.ones(len(labels), bool))
    for number in range(experts.shape[1]):
        if asked[:, number].any():
            add(str(number), experts[:, number], asked[:, number])
    pairs = [(i, j) for j in range(experts.shape[1]) for i in range(j) if (asked[:, i] & asked[:, j]).any()]
    if pairs:
        result['disagreement'] = float(np.mean([
            100.0 * (experts[:, i] != experts[:, j])[asked[:, i] & asked[:, j]].mean() for i, j in pairs]))
    if not asked.all():
        result.update({f'{number}_asked': float(100.0 * asked[:, number].mean()) for number in range(asked.shape[1])})
        result['mean_used'] = float(asked.sum(1).mean())
    return result
