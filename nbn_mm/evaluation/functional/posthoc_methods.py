"""The post-hoc methods by name, and the table of their shot-group accuracies on saved logits."""
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...datasets.class_priors import inverse_image_frequency
from ...datasets.shot_groups import FEW, MANY
from .posthoc import AffineMap, LogitMoments, logit_adjustment, logit_normalization, logit_weighting, tau_normalization
from .saved_logits import SavedLogits
from .shot_accuracy import shot_group_accuracy

METHODS = ('logit_adjustment', 'logn', 'tau_norm', 'iif')
WITH_TAU = ('logit_adjustment', 'tau_norm')
COLUMNS = ('all', 'many', 'medium', 'few', 'hmean')
HEADINGS = ('All', 'Many', 'Medium', 'Few', 'Harmonic mean')


@dataclass
class PosthocFacts:
    """What the methods may need of the trained network and its training set.

    Args:
        counts (Sequence[int], optional): Training images per class, shape ``(C, )``.
        weight (Tensor, optional): Of the linear classifier, shape ``(C, D)``.
        bias (Tensor, optional): Shape ``(C, )``.
        mean (Tensor, optional): Of each class's logit over the training set, shape ``(C, )``.
        std (Tensor, optional): Deviation of it, shape ``(C, )``.
    """
    counts: Sequence[int] | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    mean: Tensor | None = None
    std: Tensor | None = None

    @classmethod
    def of_saved(cls, saved: SavedLogits, train: SavedLogits | None = None) -> 'PosthocFacts':
        """Facts from saved logits.

        Args:
            saved (SavedLogits): Of the set that is evaluated.
            train (SavedLogits, optional): Of the training set, for LogN.

        Raises:
            ValueError: If ``train`` is of another set or of another network's classes.
        """
        facts = cls(saved.counts.tolist(), *(None if value is None else torch.from_numpy(value)
                                             for value in (saved.weight, saved.bias)))
        if train is not None:
            if train.split != 'train':
                raise ValueError(f'the logits for the statistics of LogN are those of the {train.split} set. Save '
                                 'those of the training set: save_logits.py … --split train.')
            if train.classes.tolist() != saved.classes.tolist():
                raise ValueError(f'the logits of the training set have other classes ({len(train.classes)}) than those '
                                 f'of the {saved.split} set ({len(saved.classes)}), or another order.')
            moments = LogitMoments()
            moments.update(torch.from_numpy(train.logits))
            facts.mean, facts.std = moments.mean, moments.std
        return facts


def posthoc_map(method: str, facts: PosthocFacts, tau: float | None = None, keep_bias: bool = False,
                iif: str = 'raw') -> AffineMap:
    """The affine map of a method.

    Args:
        method (str): One of ``METHODS``.
        facts (PosthocFacts): What it needs of the network and the training set.
        tau (float, optional): Of logit adjustment and tau-normalisation; their default is 1.
        keep_bias (bool): Of tau-normalisation. Defaults to False.
        iif (str): ``'raw'``: log(N / n); ``'smooth'``: log((N + 1) / (n + 1)) + 1. Defaults to ``'raw'``.

    Returns:
        AffineMap: Of C classes.

    Raises:
        ValueError: If the method is unknown, takes no tau, or a fact that it needs is missing or unusable.
    """
    if method not in METHODS:
        raise ValueError(f'post-hoc method {method!r} is unknown; it must be one of {METHODS}.')
    if tau is not None and method not in WITH_TAU:
        raise ValueError(f'post-hoc method {method!r} has no tau; leave it out.')
    tau = 1.0 if tau is None else tau
    if method == 'logn':
        if facts.mean is None or facts.std is None:
            raise ValueError('LogN needs the statistics of the training set. Save its logits with save_logits.py … '
                             '--split train, and give that file as --train.')
        return logit_normalization(facts.mean, facts.std)
    if method == 'tau_norm':
        if facts.weight is None:
            raise ValueError('tau_norm needs the weight of a linear classifier, and this network has none: its '
                             'classifier is normalised, or there are several. Its logits were saved without `weight`.')
        return tau_normalization(facts.weight, facts.bias, tau, keep_bias)
    if facts.counts is None:
        raise ValueError(f'{method} needs the class counts of the training set.')
    if method == 'logit_adjustment':
        return logit_adjustment(facts.counts, tau)
    return logit_weighting(inverse_image_frequency(facts.counts, iif))


def posthoc_name(method: str, tau: float | None = None, keep_bias: bool = False, iif: str = 'raw') -> str:
    """How a table names a method with the options of :func:`posthoc_map`, as in ``'logit_adjustment, tau 1.5'``."""
    parts = [method]
    if method in WITH_TAU:
        parts.append(f'tau {1.0 if tau is None else tau:g}')
    if method == 'tau_norm' and keep_bias:
        parts.append('with bias')
    if method == 'iif' and iif != 'raw':
        parts.append(iif)
    return ', '.join(parts)


def posthoc_table(saved: SavedLogits, maps: Mapping[str, AffineMap], few: int = FEW, many: int = MANY,
                  k: int = 1) -> list[dict[str, Any]]:
    """Shot-group accuracies before and after each map.

    Args:
        saved (SavedLogits): Logits of the test set.
        maps (Mapping[str, AffineMap]): Name of the row to its map.
        few (int): A class with fewer training images is a few-shot class. Defaults to 20.
        many (int): A class with more training images is a many-shot class. Defaults to 100.
        k (int): Top-k accuracy. Defaults to 1.

    Returns:
        list[dict]: ``method``, ``keeps_order`` and ``all, many, medium, few, hmean`` in percent (None for a group
        without classes); the first row is the network itself.

    Raises:
        ValueError: If a map is of another number of classes.
    """
    logits, labels = torch.from_numpy(saved.logits), torch.from_numpy(saved.labels)
    rows = []
    for name, calibrate in (('as trained', None), *maps.items()):
        scores = logits if calibrate is None else calibrate(logits)
        values = shot_group_accuracy(scores, labels, saved.counts.tolist(), k, few, many)
        rows.append(dict(method=name, keeps_order=calibrate is None or calibrate.keeps_order,
                         **{group: values.get(f'{group}_top{k}') for group in COLUMNS}))
    return rows


def posthoc_markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows of :func:`posthoc_table` as a Markdown table."""
    lines = ['| Method | ' + ' | '.join(HEADINGS) + ' |', '|---' * (len(HEADINGS) + 1) + '|']
    for row in rows:
        cells = ('–' if row[group] is None else f'{row[group]:.2f}' for group in COLUMNS)
        lines.append(f'| {row["method"]} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)
