"""Samplers that change how often a class is seen.

Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, arXiv:1910.09217,
section 4.1: class ``j`` with ``n_j`` of ``N`` images, ``C`` classes, is drawn with probability ``p_j``.
"""
from collections.abc import Iterator, Sized

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from ..dataset_labels import image_labels


class EpochSequenceSampler(Sampler):
    """One global sequence of indices an epoch, a function of seed and epoch alone, of which each rank takes a stride.

    A resumed run therefore sees what it would have seen. With ``infinite=True`` the sequences of epochs 0, 1, 2, …
    follow each other without end, as ``IterBasedTrainLoop`` wants it, and ``skip`` jumps to a position, which mmengine
    calls on resuming where it knows to; otherwise it drops the batches that were trained on.

    Args:
        dataset (Sized): The data set, one label an image.
        seed (int, optional): Equal on all ranks. Defaults to one that ranks agree on.
        round_up (bool): Whether all ranks get equally many indices, the last ones drawn from the front of the sequence
            once more. Without effect on an infinite sampler. Defaults to True.
        epoch_length (int, optional): Indices of one epoch over all ranks. Defaults to the length of the data set.
        infinite (bool): Whether to go on without end. Defaults to False.

    Raises:
        ValueError: If ``epoch_length`` is below 1, or the data set is empty or not single-label.
    """

    def __init__(self,
                 dataset: Sized,
                 seed: int | None = None,
                 round_up: bool = True,
                 epoch_length: int | None = None,
                 infinite: bool = False) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.seed = sync_random_seed() if seed is None else seed
        self.round_up = round_up
        self.infinite = infinite
        self.epoch = 0
        self.start = 0
        self.labels = torch.from_numpy(image_labels(dataset))
        self.counts = torch.bincount(self.labels)
        self.epoch_length = len(self.labels) if epoch_length is None else epoch_length
        if self.epoch_length < 1:
            raise ValueError(f'{type(self).__name__}: epoch_length={epoch_length} must be at least 1.')
        if infinite:
            # mmengine takes a sampler with `skip` for an endless stream, so that only an endless one may have it.
            self.skip = self._skip

    def sequence(self, epoch: int, generator: torch.Generator) -> torch.Tensor:
        """The indices of one epoch over all ranks.

        Args:
            epoch (int): The epoch.
            generator (torch.Generator): Seeded by seed and epoch.

        Returns:
            Tensor: Indices, int64, shape ``(epoch_length, )``.
        """
        raise NotImplementedError

    def _sequence(self, epoch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed((self.seed * 1000003 + epoch) % 2**63)
        return self.sequence(epoch, generator)

    def __iter__(self) -> Iterator[int]:
        """Iterate over this rank's indices."""
        return self._endless() if self.infinite else iter(self._one_epoch())

    def _one_epoch(self) -> list[int]:
        indices = self._sequence(self.epoch)
        if self.round_up:
            total = -(-self.epoch_length // self.world_size) * self.world_size
            indices = indices.repeat(-(-total // self.epoch_length))[:total]
        return indices[self.rank::self.world_size].tolist()

    def _endless(self) -> Iterator[int]:
        epoch, position = divmod(self.rank + self.start * self.world_size, self.epoch_length)
        while True:
            indices = self._sequence(epoch)[position::self.world_size].tolist()
            yield from indices
            ahead, position = divmod(position + len(indices) * self.world_size, self.epoch_length)
            epoch += ahead

    def _skip(self, num_samples: int) -> None:
        """Start the stream at an absolute position.

        Args:
            num_samples (int): Indices of this rank that were consumed since the beginning of the training.

        Raises:
            ValueError: If it is negative.
        """
        if num_samples < 0:
            raise ValueError(f'num_samples={num_samples} must not be negative.')
        self.start = num_samples

    def __len__(self) -> int:
        """Indices of this rank in one epoch; of an infinite sampler, those of all ranks, as mmengine has it."""
        if self.infinite:
            return self.epoch_length
        if self.round_up:
            return -(-self.epoch_length // self.world_size)
        return max(-(-(self.epoch_length - self.rank) // self.world_size), 0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; without effect on an infinite sampler, which counts by itself."""
        self.epoch = epoch

    def _draw(self, class_weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw with replacement; all images of a class are equally likely.

        Args:
            class_weights (Tensor): Relative probability of each class, shape ``(C, )``, finite where it has images.
            generator (torch.Generator): The source of randomness.

        Returns:
            Tensor: Indices, int64, shape ``(epoch_length, )``.
        """
        weights = (class_weights / self.counts.clamp(min=1))[self.labels].double()
        # torch.multinomial takes no more than 2**24 weights; the inverse of the cumulative sum takes any number.
        bounds = weights.cumsum(0)
        points = torch.rand(self.epoch_length, generator=generator, dtype=torch.float64) * bounds[-1]
        return torch.searchsorted(bounds, points, right=True).clamp(max=len(weights) - 1)


def _cycles(items: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """``size`` of the items: shuffled, all of them before any comes again."""
    rounds = -(-size // len(items))
    return torch.cat([items[torch.randperm(len(items), generator=generator)] for _ in range(rounds)])[:size]


@DATA_SAMPLERS.register_module()
class ClassBalancedSampler(EpochSequenceSampler):
    r"""Class-aware sampling: :math:`p_j = 1 / C` over the classes that have images.

    Classes follow each other in shuffled rounds, each with ``num_samples_per_class`` images at a stroke, and the images
    of a class come in shuffled rounds as well (Shen et al., Relay Backpropagation, ECCV 2016, arXiv:1512.05830). Stage
    2 of cRT takes 4 per class. The class-aware sampler of mmdet, for boxes, has the name ``ClassAwareSampler``.

    Args:
        dataset (Sized): The data set, one label an image.
        num_samples_per_class (int): Images of a class at a stroke. Defaults to 1.
        **kwargs: ``seed``, ``round_up``, ``epoch_length``, ``infinite``, see :class:`EpochSequenceSampler`.

    Raises:
        ValueError: If ``num_samples_per_class`` is below 1.
    """

    def __init__(self, dataset: Sized, num_samples_per_class: int = 1, **kwargs) -> None:
        if num_samples_per_class < 1:
            raise ValueError(f'ClassBalancedSampler: num_samples_per_class={num_samples_per_class} must be at least 1.')
        super().__init__(dataset, **kwargs)
        self.num_samples_per_class = num_samples_per_class
        order = torch.argsort(self.labels, stable=True)
        self.members = [part for part in order.split(self.counts.tolist()) if len(part)]

    def sequence(self, epoch: int, generator: torch.Generator) -> torch.Tensor:
        """Classes in shuffled rounds, see :meth:`EpochSequenceSampler.sequence`."""
        strokes = -(-self.epoch_length // self.num_samples_per_class)
        classes = _cycles(torch.arange(len(self.members)), strokes, generator)
        slots = torch.argsort(classes, stable=True).split(torch.bincount(classes, minlength=len(self.members)).tolist())
        out = torch.empty(strokes, self.num_samples_per_class, dtype=torch.int64)
        for members, own in zip(self.members, slots, strict=True):
            if len(own):
                out[own] = _cycles(members, out[own].numel(), generator).view(len(own), -1)
        return out.view(-1)[:self.epoch_length]


@DATA_SAMPLERS.register_module()
class SquareRootSampler(EpochSequenceSampler):
    r"""Square-root sampling: :math:`p_j = \sqrt{n_j} / \sum_i \sqrt{n_i}`, drawn with replacement.

    Args:
        dataset (Sized): The data set, one label an image.
        **kwargs: ``seed``, ``round_up``, ``epoch_length``, ``infinite``, see :class:`EpochSequenceSampler`.
    """

    def sequence(self, epoch: int, generator: torch.Generator) -> torch.Tensor:
        """Independent draws, see :meth:`EpochSequenceSampler.sequence`."""
        return self._draw(self.counts.double().sqrt(), generator)


@DATA_SAMPLERS.register_module()
class ProgressivelyBalancedSampler(EpochSequenceSampler):
    r"""From instance balance to class balance: :math:`p_j(t) = (1 - t / T) n_j / N + (t / T) / C`, with replacement.

    ``t`` is the epoch, and ``T`` is ``total_epochs``. An infinite sampler counts ``epoch_length`` indices as an epoch;
    for it, ``total_samples`` (iterations × batch over all ranks) can stand for the epochs.

    Args:
        dataset (Sized): The data set, one label an image.
        total_epochs (float, optional): T in epochs, usually ``train_cfg.max_epochs``.
        total_samples (int, optional): T in indices over all ranks. Exactly one of both must be given.
        **kwargs: ``seed``, ``round_up``, ``epoch_length``, ``infinite``, see :class:`EpochSequenceSampler`.

    Raises:
        ValueError: If none or both of ``total_epochs`` and ``total_samples`` are given, or it is not positive.
    """

    def __init__(self,
                 dataset: Sized,
                 total_epochs: float | None = None,
                 total_samples: int | None = None,
                 **kwargs) -> None:
        if (total_epochs is None) == (total_samples is None):
            raise ValueError(f'ProgressivelyBalancedSampler: give exactly one of total_epochs={total_epochs} and '
                             f'total_samples={total_samples}.')
        super().__init__(dataset, **kwargs)
        self.total_epochs = total_epochs if total_samples is None else total_samples / self.epoch_length
        if self.total_epochs <= 0:
            raise ValueError(f'ProgressivelyBalancedSampler: total_epochs={total_epochs} or '
                             f'total_samples={total_samples} must be positive.')

    def class_probabilities(self, epoch: int) -> np.ndarray:
        """Probability of each class in an epoch.

        Args:
            epoch (int): The epoch t; from ``total_epochs`` on, the sampling stays class-balanced.

        Returns:
            np.ndarray: Probabilities, float64, shape ``(C, )``; 0 for a class without images.
        """
        share = min(epoch / self.total_epochs, 1.)
        balanced = (self.counts > 0).double()
        return ((1 - share) * self.counts / self.counts.sum() + share * balanced / balanced.sum()).numpy()

    def sequence(self, epoch: int, generator: torch.Generator) -> torch.Tensor:
        """Independent draws, see :meth:`EpochSequenceSampler.sequence`."""
        return self._draw(torch.from_numpy(self.class_probabilities(epoch)), generator)
