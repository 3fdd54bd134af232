"""AutoAugment with the CIFAR-10 policy, as the long-tailed CIFAR recipes use it."""
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.registry import TRANSFORMS

from .image_operations import apply_operation
from .policies import CIFAR10_POLICY, SIGNED, magnitude_of


def check_image(image: object, name: str) -> None:
    """Raise unless ``image`` is uint8 of shape ``(H, W, 3)``."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        kind = f'{image.dtype} of shape {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"{name} needs results['img'] as a uint8 array of shape (H, W, 3), got {kind}. Place it before "
                        'PackInputs and before any normalisation in the pipeline.')


@TRANSFORMS.register_module()
class CIFARAutoAugment(BaseTransform):
    """One of the 25 sub-policies found on CIFAR-10, drawn for each image, with Pillow's own operations.

    Cubuk et al., AutoAugment: Learning Augmentation Policies from Data, CVPR 2019, arXiv:1805.09501. Each of the two
    steps of the sub-policy is applied with its probability; shear, translation and enhancement get a random sign,
    rotation does not. Randomness comes from NumPy's global state, which mmengine seeds in each worker.

    The image must be RGB (``'color'`` weighs the channels), as mmpretrain's CIFAR classes give it.

    Required keys: ``img``, uint8, shape ``(H, W, 3)``. Modified keys: ``img``.

    Args:
        fill (Sequence[int]): RGB colour of pixels from outside of the image. Defaults to ``(128, 128, 128)``.

    Raises:
        ValueError: If ``fill`` is no RGB colour.
    """

    def __init__(self, fill: Sequence[int] = (128, 128, 128)) -> None:
        if len(fill) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in fill):
            raise ValueError(f'CIFARAutoAugment: fill={fill!r} must be three integers from 0 to 255.')
        self.fill = tuple(fill)

    @cache_randomness
    def draw(self) -> list[tuple[str, float]]:
        """Draw the operations for one image.

        Returns:
            list[tuple[str, float]]: Zero to two operations, each with its signed magnitude.
        """
        steps = CIFAR10_POLICY[np.random.randint(len(CIFAR10_POLICY))]
        drawn = []
        for operation, probability, level in steps:
            if np.random.rand() < probability:
                sign = np.random.choice((-1, 1)) if operation in SIGNED else 1
                drawn.append((operation, float(sign * magnitude_of(operation, level))))
        return drawn

    def transform(self, results: dict) -> dict:
        """Augment ``results['img']``.

        Raises:
            TypeError: If the image is not uint8 of shape ``(H, W, 3)``.
        """
        check_image(results['img'], type(self).__name__)
        for operation, magnitude in self.draw():
            results['img'] = apply_operation(results['img'], operation, magnitude, self.fill)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(fill={self.fill})'
