"""Accuracy under several class distributions of the test set, from one pass over a balanced one.

The protocol of Hong et al., Disentangling Label Distribution for Long-Tailed Visual Recognition (LADE), CVPR 2021,
arXiv:2012.00321: test sets that follow the training set's long tail ("forward"), its reverse ("backward") or neither,
with imbalance factors of 2 to 50. There the balanced test set is subsampled; here each class is weighted, which
is the mean over all such subsamples up to the rounding of their sizes, and uses every image.
"""
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

FACTORS = (50, 25, 10, 5, 2)
PRIORS = (*(f'forward{factor}' for factor in FACTORS), 'uniform', *(f'backward{factor}' for factor in FACTORS[::-1]))
SOURCES = ('train', 'uniform')
_NAME = re.compile(r'(forward|backward)(\d+(?:\.\d+)?)')


def named_prior(name: str, class_counts: Sequence[int]) -> np.ndarray:
    """Shares of the classes in a test set.

    With the classes in the order of descending *training* counts (of equal counts, the lower index first), class i of C
    has a share in proportion to ``factor ** (-i / (C - 1))`` in ``'forward{factor}'``, and the reverse in
    ``'backward{factor}'``.

    Args:
        name (str): ``'uniform'``, ``'forward{factor}'`` or ``'backward{factor}'``, as in ``'forward50'``.
        class_counts (Sequence[int]): *Training* images per class, shape ``(C, )``.

    Returns:
        np.ndarray: Shares that sum to 1, float64, shape ``(C, )``.

    Raises:
        ValueError: If the name is unknown or the factor is below 1.
    """
    check_prior_name(name)
    number = len(class_counts)
    shares = np.ones(number)
    if name != 'uniform' and number > 1:
        direction, factor = _NAME.fullmatch(name).groups()
        order = np.argsort(-np.asarray(class_counts, dtype=np.float64), kind='stable')
        steps = np.arange(number) / (number - 1)
        shares[order] = float(factor)**-(steps if direction == 'forward' else steps[::-1])
    return shares / shares.sum()


def check_prior_name(name: str) -> None:
    """Raise unless a prior is ``'uniform'``, ``'forward{factor}'`` or ``'backward{factor}'`` with a factor >= 1."""
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if name != 'uniform' and (match is None or float(match[2]) < 1):
        raise ValueError(f"the test prior {name!r} must be 'uniform', 'forward{{factor}}' or 'backward{{factor}}' with "
                         "an imbalance factor of at least 1, as in 'forward50'.")


def prior_accuracy(correct: Sequence[int], total: Sequence[int], prior: Sequence[float]) -> float:
    """Accuracy on a test set whose classes have given shares.

    Args:
        correct (Sequence[int]): Right predictions per class, shape ``(C, )``.
        total (Sequence[int]): Test images per class, shape ``(C, )``. The shares are those among the classes that have
            test images.
        prior (Sequence[float]): Shares, shape ``(C, )``.

    Returns:
        float: In percent.

    Raises:
        ValueError: If lengths differ or no class with a share has a test image.
    """
    correct, total, prior = (np.asarray(values, dtype=np.float64) for values in (correct, total, prior))
    if not len(correct) == len(total) == len(prior):
        raise ValueError(f'{len(correct)} and {len(total)} classes of results, but a prior of {len(prior)}.')
    tested = total > 0
    mass = prior[tested].sum()
    if not mass > 0:
        raise ValueError('there are no test images to compute an accuracy of. Check the dataset of test_dataloader.')
    return float(100 * (prior[tested] * correct[tested] / total[tested]).sum() / mass)


def adapt_scores(scores: Tensor, source: Sequence[float], target: Sequence[float]) -> Tensor:
    r"""Scores for a test set of other class shares: :math:`\log p_j + \log \pi^{test}_j - \log \pi^{source}_j`.

    Args:
        scores (Tensor): Probabilities, shape ``(N, C)``. Those that have underflowed count as the smallest float32.
        source (Sequence[float]): Shares that the network assumes: those of its training set after plain cross entropy,
            equal ones after a loss that takes them out (Balanced Softmax, logit adjustment). Shape ``(C, )``.
        target (Sequence[float]): Shares of the test set, shape ``(C, )``.

    Returns:
        Tensor: Float64, shape ``(N, C)``; their ranking is that of the adapted logits.

    Raises:
        ValueError: If the rows are no probabilities, or a share is 0.
    """
    rows = torch.as_tensor(scores).double()
    if rows.numel() and ((rows < 0).any() or (rows.sum(1) - 1).abs().max() > 1e-2):
        raise ValueError('scores can be adapted to a test prior only if they are probabilities of the classes; these '
                         f'sum to {float(rows[0].sum()):.4g}. Set adapt_from=None, or use a head whose scores are a '
                         'softmax.')
    source, target = (torch.as_tensor(values, dtype=torch.float64, device=rows.device) for values in (source, target))
    if not ((source > 0).all() and (target > 0).all()):
        raise ValueError('a class without training images has no prior that could be taken out. Set adapt_from=None.')
    return rows.clamp(min=torch.finfo(torch.float32).tiny).log() + (target / source).log()
