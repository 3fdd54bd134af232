"""Effective number of images of a class.

Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, arXiv:1901.05555.
"""
from collections.abc import Sequence

import torch
from torch import Tensor

from .labels import check_fraction, first_empty


def effective_number_weights(class_counts: Tensor | Sequence[float], beta: float = 0.9999) -> Tensor:
    r"""Weights :math:`\propto (1 - \beta) / (1 - \beta^{n_j})` that sum to the number of classes.

    :math:`\beta = 0` weighs all classes alike; towards 1 the weights become those of the inverse counts.

    Args:
        class_counts (Tensor | Sequence[float]): Training images per class, all above 0, shape ``(C, )``.
        beta (float): From 0 to below 1. Defaults to 0.9999.

    Returns:
        Tensor: Shape ``(C, )``, float64.

    Raises:
        ValueError: If beta is out of its range, or a class has no images.
    """
    check_fraction('effective number', 'beta', beta, one=False)
    counts = torch.as_tensor(class_counts).double()
    index = first_empty(counts.tolist())
    if index is not None:
        raise ValueError(f'effective number: class {index} has {float(counts[index]):g} training images, its weight is '
                         'not finite. Check `class_counts`.')
    weights = 1 / -torch.expm1(counts * torch.tensor(beta, dtype=torch.float64).log())
    return weights * (len(counts) / weights.sum())
