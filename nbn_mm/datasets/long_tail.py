"""Long-tailed subsets of balanced data sets: how many images of each class, and which.

The profiles are those of Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019,
arXiv:1901.05555 (``'exp'``), and Buda et al., A systematic study of the class imbalance problem in convolutional neural
networks, 2018, arXiv:1710.05381 (``'step'``); the choice of the images is that of Cao et al., Learning Imbalanced
Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019, arXiv:1906.07413, on whose subset of CIFAR the
published long-tailed figures are trained.
"""
import hashlib
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
from mmengine.logging import print_log

KINDS = ('exp', 'step')


def long_tail_counts(sizes: int | Sequence[int],
                     num_classes: int,
                     imbalance_factor: float,
                     kind: str = 'exp') -> np.ndarray:
    r"""Images of each class of a long-tailed set.

    ``'exp'``: :math:`n_i = \lfloor n_{max} \cdot (1 / IF)^{i / (C - 1)} \rfloor` for class ``i`` of ``C``.
    ``'step'``: the first ``C // 2`` classes have :math:`n_{max}` images, the others
    :math:`\lfloor n_{max} / IF \rfloor`.

    Args:
        sizes (int | Sequence[int]): Size of the largest class, or the sizes of all classes, whose maximum it then is.
        num_classes (int): Number of classes C.
        imbalance_factor (float): Largest over smallest class size, IF; 1 keeps the set balanced.
        kind (str): ``'exp'`` or ``'step'``. Defaults to ``'exp'``.

    Returns:
        np.ndarray: Images per class, int64, shape ``(C, )``.

    Raises:
        TypeError: If ``imbalance_factor`` is no number.
        ValueError: If a value is out of range, or a class would be left without images.
    """
    if kind not in KINDS:
        raise ValueError(f'imbalance_type={kind!r} is unknown; use one of {KINDS}.')
    if isinstance(imbalance_factor, bool) or not isinstance(imbalance_factor, Real):
        raise TypeError(f'imbalance_factor={imbalance_factor!r} must be a number.')
    if not 1 <= imbalance_factor < float('inf'):
        raise ValueError(f'imbalance_factor={imbalance_factor} must be at least 1 (largest over smallest class size; 1 '
                         'keeps the set balanced) and finite.')
    if num_classes < 1:
        raise ValueError(f'num_classes={num_classes} must be at least 1.')
    if not isinstance(sizes, Integral) and len(sizes) != num_classes:
        raise ValueError(f'{len(sizes)} class sizes for num_classes={num_classes}.')
    n_max = int(sizes if isinstance(sizes, Integral) else max(sizes))
    if kind == 'exp':
        share = [(1 / imbalance_factor)**(i / max(num_classes - 1, 1)) for i in range(num_classes)]
    else:
        share = [1. if i < max(num_classes // 2, 1) else 1 / imbalance_factor for i in range(num_classes)]
    # the floor of the exact product: 1 / 49 * 98 is a little less than 2
    counts = np.array([int(n_max * part + 1e-9) for part in share], dtype=np.int64)
    if counts.min() < 1:
        raise ValueError(f'imbalance_factor={imbalance_factor} leaves class {int(counts.argmin())} without images when '
                         f'the largest class has {n_max}; use at most {n_max}.')
    return counts


def select_subset(labels: Sequence[int],
                  counts: Sequence[int],
                  subset: str | int = 'canonical',
                  classes: Sequence[str] | None = None) -> np.ndarray:
    """Choose the images of a long-tailed subset.

    ``'canonical'`` visits the classes in label order, shuffles the indices of each with one
    ``np.random.RandomState(0)`` (whose stream NumPy keeps fixed over versions and machines) and takes the first ones.
    An int seeds the same procedure otherwise; 0 is the canonical subset. ``'first'`` takes the first images of each
    class.

    Args:
        labels (Sequence[int]): Label of each image, shape ``(N, )``.
        counts (Sequence[int]): Images wanted of each class, shape ``(C, )``.
        subset (str | int): ``'canonical'``, ``'first'`` or a seed. Defaults to ``'canonical'``.
        classes (Sequence[str], optional): Class names for error messages.

    Returns:
        np.ndarray: Indices into ``labels``, class by class, int64, shape ``(sum(counts), )``.

    Raises:
        TypeError: If ``subset`` is neither a string nor an integer.
        ValueError: If ``subset`` is unknown, a label is out of range, or a class has fewer images than wanted.
    """
    labels = np.asarray(labels)
    check_subset(subset)
    if labels.size and not (0 <= labels.min() and labels.max() < len(counts)):
        index = int(np.argmax((labels < 0) | (labels >= len(counts))))
        raise ValueError(f'image {index} has label {labels[index]}, outside of the {len(counts)} classes.')
    random = None if subset == 'first' else np.random.RandomState(0 if subset == 'canonical' else subset)
    chosen = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(labels == label)
        if len(members) < count:
            name = f'{label} ({classes[label]})' if classes is not None else str(label)
            raise ValueError(f'class {name} has {len(members)} images, but the long-tailed subset needs {count}. '
                             'Choose a larger imbalance_factor, or complete the data under data_root.')
        if random is not None:
            random.shuffle(members)
        chosen.append(members[:count])
    return np.concatenate(chosen).astype(np.int64)


def check_subset(subset: str | int) -> None:
    """Raise if ``subset`` is no choice of :func:`select_subset`."""
    if isinstance(subset, bool) or not isinstance(subset, (str, Integral)):
        raise TypeError(f"subset={subset!r} must be 'canonical', 'first' or an int seed.")
    if isinstance(subset, str) and subset not in ('canonical', 'first'):
        raise ValueError(f"subset={subset!r} is unknown; use 'canonical', 'first' or an int seed.")
    if isinstance(subset, Integral) and not 0 <= subset < 2**32:
        raise ValueError(f'subset={subset} is no seed; a seed lies in 0 … 2**32 - 1.')


def subset_hash(indices: Sequence[int], labels: Sequence[int]) -> str:
    """First 16 hex digits of a sha256 over the (index, label) pairs of a subset, in its order.

    Args:
        indices (Sequence[int]): Chosen indices, shape ``(M, )``.
        labels (Sequence[int]): Label of every image of the whole set, shape ``(N, )``.

    Returns:
        str: The hash, equal on every machine.
    """
    indices = np.asarray(indices)
    pairs = np.stack([indices, np.asarray(labels)[indices]], axis=1).astype('<i8')
    return hashlib.sha256(pairs.tobytes()).hexdigest()[:16]


def long_tail_indices(labels: Sequence[int],
                      classes: Sequence[str],
                      imbalance_factor: float,
                      kind: str,
                      subset: str | int,
                      name: str,
                      pool: Sequence[int] | None = None) -> np.ndarray:
    """Make a data set long-tailed and log its size and hash.

    Args:
        labels (Sequence[int]): Label of each image, shape ``(N, )``; the largest class keeps all its images.
        classes (Sequence[str]): Class names.
        imbalance_factor (float): See :func:`long_tail_counts`.
        kind (str): See :func:`long_tail_counts`.
        subset (str | int): See :func:`select_subset`.
        name (str): Name of the data set for the log.
        pool (Sequence[int], optional): The indices to choose from. Defaults to all.

    Returns:
        np.ndarray: Indices into ``labels``, class by class, int64.
    """
    pool = np.arange(len(labels)) if pool is None else np.asarray(pool)
    candidates = np.asarray(labels)[pool]
    sizes = np.bincount(candidates, minlength=len(classes)).tolist()
    counts = long_tail_counts(sizes, len(classes), imbalance_factor, kind)
    indices = pool[select_subset(candidates, counts, subset, classes)]
    print_log(
        f'{name}: {len(indices)} of {len(pool)} images, imbalance_factor={imbalance_factor} ({kind}), '
        f'subset={subset!r}, classes of {counts.max()} … {counts.min()} images, '
        f'hash {subset_hash(indices, labels)}',
        logger='current')
    return indices
