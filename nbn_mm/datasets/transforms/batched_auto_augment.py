"""AutoAugment on batches."""
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from .batched_operations import BatchedOperations
from .batched_transform import BatchedTransform, Drawn
from .policies import CIFAR10_POLICY, SIGNED, Policy, magnitude_of


class BatchedAutoAugment(BatchedTransform):
    """Counterpart of ``CIFARAutoAugment``: the same policy, probabilities, signs and operations, bit by bit.

    Args:
        fill (Sequence[int]): RGB colour of pixels from outside of the image. Defaults to ``(128, 128, 128)``.
        policy (Policy): Sub-policies of two steps each. Defaults to :data:`CIFAR10_POLICY`.

    Attributes:
        same_shapes (bool): Whether all draws for one number of images, but for very rare ones, have arrays of the same
            shapes, so that the tensor operations can be captured; the images are the same. False at first.
    """
    device_keys = ('order_0', 'rows_0', 'order_1', 'rows_1', 'restore')

    def __init__(self, fill: Sequence[int] = (128, 128, 128), policy: Policy = CIFAR10_POLICY) -> None:
        signed = [[[(name, sign * magnitude_of(name, level)) for sign in ((1, -1) if name in SIGNED else (1, 1))]
                   for name, _, level in pair] for pair in policy]
        entries = list(dict.fromkeys(entry for pair in signed for step in pair for entry in step))
        # shapes (sub-policies, 2) and (sub-policies, 2, 2): by sub-policy, step, sign
        self.probabilities = np.array([[probability for _, probability, _ in pair] for pair in policy])
        self.choices = np.array([[[entries.index(entry) for entry in step] for step in pair] for pair in signed])
        self.operations = BatchedOperations(entries, tuple(fill))
        # of each entry in each step, shape (2, entries)
        weights = self.probabilities[:, :, None] / (2 * len(policy))
        self.chances = np.stack([np.bincount(self.choices[:, step].ravel(), weights[:, step].repeat(2), len(entries))
                                 for step in (0, 1)])
        self.same_shapes = False

    def draw(self, generator: np.random.Generator, number: int, height: int, width: int) -> Drawn:
        """Sub-policy, whether each step is applied, its sign, and the images sorted by operation."""
        policy = generator.integers(len(self.probabilities), size=number)
        applied = generator.random((number, 2)) < self.probabilities[policy]
        negative = generator.integers(2, size=(number, 2))
        chosen = np.where(applied, self.choices[policy[:, None], [[0, 1]], negative], -1)
        drawn = dict(policy=policy, applied=applied, chosen=chosen)
        positions = None
        for step in (0, 1):
            capacities = self.operations.capacities(self.chances[step], number) if self.same_shapes and number else None
            order, rows, counts, positions = self.operations.sort(chosen[:, step], positions, capacities)
            drawn |= {f'order_{step}': order, f'rows_{step}': rows, f'counts_{step}': counts}
        return drawn | dict(restore=positions)

    def steps(self, drawn: Drawn) -> list[list[tuple[str, float]]]:
        """What was drawn for each image: zero to two operations, each with its signed magnitude."""
        return [[self.operations.entries[index] for index in pair if index >= 0] for pair in drawn['chosen']]

    def apply(self, images: Tensor, drawn: Mapping[str, Tensor | np.ndarray]) -> Tensor:
        """See :class:`BatchedTransform`."""
        for step in (0, 1):
            images = images.index_select(0, drawn[f'order_{step}'])
            self.operations.apply_(images, drawn[f'rows_{step}'], drawn[f'counts_{step}'])
        return images.index_select(0, drawn['restore'])
