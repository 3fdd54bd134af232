"""What the batched counterparts of the per-image transforms have in common."""
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from torch import Tensor

Drawn = dict[str, np.ndarray]


class BatchedTransform(ABC):
    """The batched counterpart of a per-image transform.

    All randomness is drawn on the host; the device then only computes, so that nothing waits for it and one seed gives
    the same images on every device.

    Attributes:
        device_keys (tuple[str, ...]): Keys of :meth:`draw` that :meth:`apply` needs on the device of the images; their
            arrays are int64. The others stay NumPy arrays.
    """
    device_keys: tuple[str, ...] = ()

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after this transform."""
        return height, width

    @abstractmethod
    def draw(self, generator: np.random.Generator, number: int, height: int, width: int) -> Drawn:
        """Draw the random choices for a batch, all images at once.

        Args:
            generator (np.random.Generator): Source of randomness.
            number (int): Images N.
            height (int): Of the images, after earlier transforms.
            width (int): Of the images, after earlier transforms.

        Returns:
            dict[str, np.ndarray]: The choices.
        """

    @abstractmethod
    def apply(self, images: Tensor, drawn: Mapping[str, Tensor | np.ndarray]) -> Tensor:
        """Apply the choices.

        Args:
            images (Tensor): uint8, shape ``(N, 3, H, W)``, on any device; they are not changed.
            drawn (Mapping): What :meth:`draw` gave, with ``device_keys`` as tensors on the device of the images.

        Returns:
            Tensor: uint8, shape ``(N, 3, H', W')``, with :meth:`output_size`.
        """
