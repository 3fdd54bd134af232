"""Cutout as the CIFAR recipes use it."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.registry import TRANSFORMS

from .auto_augment import check_image


@TRANSFORMS.register_module()
class CIFARCutout(BaseTransform):
    """Set one square to black, before normalisation: it is −mean/std afterwards.

    DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017, arXiv:1708.04552.
    The centre is uniform over the pixels and the square is clipped at the border, so that less than ``size²`` pixels
    may be cut. Randomness comes from NumPy's global state, which mmengine seeds in each worker.

    Required keys: ``img``, uint8, shape ``(H, W, 3)``. Modified keys: ``img``.

    Args:
        size (int): Side of the square in pixels. Defaults to 16.

    Raises:
        ValueError: If ``size`` is no positive integer.
    """

    def __init__(self, size: int = 16) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f'CIFARCutout: size={size!r} must be a positive integer.')
        self.size = size

    @cache_randomness
    def draw(self, height: int, width: int) -> tuple[int, int]:
        """Draw the centre, (row, column)."""
        return int(np.random.randint(height)), int(np.random.randint(width))

    def transform(self, results: dict) -> dict:
        """Cut a square out of a copy of ``results['img']``.

        Raises:
            TypeError: If the image is not uint8 of shape ``(H, W, 3)``.
        """
        check_image(results['img'], type(self).__name__)
        image = results['img'].copy()
        row, column = (centre - self.size // 2 for centre in self.draw(*image.shape[:2]))
        image[max(row, 0):max(row + self.size, 0), max(column, 0):max(column + self.size, 0)] = 0
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size})'
