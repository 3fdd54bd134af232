"""Expected calibration error, overall and per shot group.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599 (the definition of ECE with equally
wide bins). It is given in percent here, as accuracies are.
"""
from collections import OrderedDict
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch

from ...datasets.shot_groups import FEW, MANY, shot_groups
from .shot_accuracy import check_labels

Array = np.ndarray | torch.Tensor | Sequence
# Softmax in float32 may exceed 1 by a few units in the last place.
TOLERANCE = 1e-4


def check_num_bins(num_bins: int) -> int:
    """The number of bins.

    Raises:
        ValueError: If it is no integer >= 1.
    """
    if isinstance(num_bins, bool) or not isinstance(num_bins, Integral) or num_bins < 1:
        raise ValueError(f'num_bins={num_bins!r} must be an integer >= 1.')
    return int(num_bins)


def check_confidence(confidence: Array, correct: Array) -> tuple[np.ndarray, np.ndarray]:
    """Confidences and hits as arrays of one length.

    Args:
        confidence (Array): Probability of the predicted class, shape ``(N, )``.
        correct (Array): Whether the prediction is right, shape ``(N, )``.

    Returns:
        tuple[np.ndarray, np.ndarray]: Floating array within [0, 1] in the dtype given, and a boolean array.

    Raises:
        ValueError: If shapes don't fit, there are no entries, or a confidence is NaN or outside of [0, 1].
    """
    confidence = torch.as_tensor(confidence).detach().cpu()
    if confidence.dtype == torch.bfloat16:  # numpy has no such type
        confidence = confidence.float()
    confidence = confidence.numpy()
    correct = torch.as_tensor(correct).cpu().numpy().astype(bool)
    if confidence.ndim != 1 or confidence.shape != correct.shape:
        raise ValueError(f'confidence and correct must have one shape (N,), got {confidence.shape} and '
                         f'{correct.shape}.')
    if not len(confidence):
        raise ValueError('there are no test images to compute a calibration error of. Check the dataset of '
                         'test_dataloader.')
    if not np.issubdtype(confidence.dtype, np.floating):
        confidence = confidence.astype(np.float64)
    wrong = ~((confidence >= -TOLERANCE) & (confidence <= 1 + TOLERANCE))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ValueError(f'confidence {confidence[index]} of test image {index} is no probability. ECE needs '
                         '`pred_score` in [0, 1], which sum to 1 over the classes (softmax), not logits.')
    return np.clip(confidence, 0, 1), correct


def calibration_bins(confidence: Array, correct: Array,
                     num_bins: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bins of a reliability diagram.

    Bin m of M holds the confidences in ``(m/M, (m+1)/M]``, as in the paper; a confidence of exactly 0 goes to bin 0.
    Edges are compared in the dtype of the confidences, so that 0.2 lies on the edge in float32 as in float64.

    Args:
        confidence (Array): Probability of the predicted class, shape ``(N, )``.
        correct (Array): Whether the prediction is right, shape ``(N, )``.
        num_bins (int): Number of bins M. Defaults to 15.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: Images (int64), sum of confidences and right predictions (float64) of
        each bin, each of shape ``(M, )``.

    Raises:
        ValueError: As :func:`check_confidence` and :func:`check_num_bins`.
    """
    num_bins = check_num_bins(num_bins)
    confidence, correct = check_confidence(confidence, correct)
    edges = np.linspace(0, 1, num_bins + 1).astype(confidence.dtype)
    index = np.clip(np.searchsorted(edges, confidence, side='left') - 1, 0, num_bins - 1)
    images = np.bincount(index, minlength=num_bins)
    sums = np.bincount(index, weights=confidence.astype(np.float64), minlength=num_bins)
    hits = np.bincount(index, weights=correct.astype(np.float64), minlength=num_bins)
    return images, sums, hits


def expected_calibration_error(confidence: Array, correct: Array, num_bins: int = 15) -> float:
    """ECE: the mean over images of |accuracy - confidence| of their bin, in percent.

    Args:
        confidence (Array): Probability of the predicted class, shape ``(N, )``.
        correct (Array): Whether the prediction is right, shape ``(N, )``.
        num_bins (int): Number of equally wide bins. Defaults to 15.

    Returns:
        float: From 0 (calibrated) to 100.

    Raises:
        ValueError: If shapes don't fit, there are no entries, a confidence is no probability, or ``num_bins`` < 1.
    """
    images, sums, hits = calibration_bins(confidence, correct, num_bins)
    return float(100.0 * np.abs(hits - sums).sum() / images.sum())


def shot_group_calibration_error(confidence: Array, correct: Array, labels: Array, counts: Sequence[int],
                                 num_bins: int = 15, few: int = FEW, many: int = MANY) -> 'OrderedDict[str, float]':
    """ECE over all images, and over the images whose *true* class belongs to a shot group, in percent.

    Args:
        confidence (Array): Probability of the predicted class, shape ``(N, )``.
        correct (Array): Whether the prediction is right, shape ``(N, )``.
        labels (Array): True classes, shape ``(N, )``.
        counts (Sequence[int]): *Training* images per class, shape ``(C, )``.
        num_bins (int): Number of equally wide bins. Defaults to 15.
        few (int): A class with fewer training images is a few-shot class. Defaults to 20.
        many (int): A class with more training images is a many-shot class. Defaults to 100.

    Returns:
        OrderedDict[str, float]: ``'all'`` and those of ``'many'``, ``'medium'``, ``'few'`` that have test images.

    Raises:
        TypeError: If the labels are no integers.
        ValueError: If shapes don't fit, a value is out of its range, or there are no entries.
    """
    confidence, correct = check_confidence(confidence, correct)
    labels = check_labels(labels, len(counts)).cpu().numpy()
    if labels.shape != confidence.shape:
        raise ValueError(f'{len(labels)} labels for {len(confidence)} confidences.')
    result = OrderedDict(all=expected_calibration_error(confidence, correct, num_bins))
    for name, classes in shot_groups(counts, few, many).items():
        chosen = np.isin(labels, classes)
        if chosen.any():
            result[name] = expected_calibration_error(confidence[chosen], correct[chosen], num_bins)
    return result
