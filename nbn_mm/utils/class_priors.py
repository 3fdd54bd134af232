"""Weights of classes that are functions of their numbers of training images."""
from collections.abc import Sequence

import numpy as np

IIF_KINDS = ('raw', 'smooth')


def inverse_image_frequency(class_counts: Sequence[float], kind: str = 'raw') -> np.ndarray:
    r"""Inverse image frequency (IIF) of each class: the factor of its logit.

    Alexandridis et al., Inverse Image Frequency for Long-Tailed Image Recognition, TIP 2023, arXiv:2209.04861. With
    :math:`n_j` of :math:`N` images, ``'raw'`` is :math:`\log(N / n_j)`, and ``'smooth'`` is
    :math:`\log((N + 1) / (n_j + 1)) + 1`. The fewer images, the larger the factor.

    Args:
        class_counts (Sequence[float]): Training images per class, shape ``(C, )``.
        kind (str): ``'raw'`` or ``'smooth'``. Defaults to ``'raw'``.

    Returns:
        np.ndarray: Factors, float64, shape ``(C, )``.

    Raises:
        ValueError: If the kind is unknown, or a class has no image (with ``'raw'`` its factor would be infinite, with
            both it would never be trained).
    """
    if kind not in IIF_KINDS:
        raise ValueError(f'inverse image frequency: kind={kind!r} must be one of {IIF_KINDS}.')
    counts = np.asarray(class_counts, dtype=np.float64)
    if counts.ndim != 1 or not len(counts) or not (counts > 0).all():
        bad = '' if counts.ndim != 1 or not len(counts) else \
            f'; class {int(np.argmax(~(counts > 0)))} has {counts[np.argmax(~(counts > 0))]:g}'
        raise ValueError('inverse image frequency needs the training images of each class, at least one a class, got '
                         f'shape {counts.shape}{bad}. Check `class_counts`.')
    total = counts.sum()
    return np.log(total / counts) if kind == 'raw' else np.log((total + 1) / (counts + 1)) + 1
