"""The operations of AutoAugment on uint8 images, computed by Pillow as in the CIFAR recipes.

They differ from the OpenCV operations of mmcv: shear interpolates bicubically with fill, rotation takes the nearest
pixel, and enhancement rounds as Pillow does.
"""
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Fill = tuple[int, int, int]


def _affine(image: Image.Image, matrix: tuple[float, ...], resample: int, fill: Fill) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=fill)


def _shear_x(image: Image.Image, slope: float, fill: Fill) -> Image.Image:
    return _affine(image, (1, slope, 0, 0, 1, 0), Image.Resampling.BICUBIC, fill)


def _shear_y(image: Image.Image, slope: float, fill: Fill) -> Image.Image:
    return _affine(image, (1, 0, 0, slope, 1, 0), Image.Resampling.BICUBIC, fill)


def _translate_x(image: Image.Image, share: float, fill: Fill) -> Image.Image:
    return _affine(image, (1, 0, share * image.width, 0, 1, 0), Image.Resampling.NEAREST, fill)


def _translate_y(image: Image.Image, share: float, fill: Fill) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, share * image.height), Image.Resampling.NEAREST, fill)


def _rotate(image: Image.Image, degrees: float, fill: Fill) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.NEAREST, fillcolor=fill)


def _enhance(kind: Callable) -> Callable:
    return lambda image, change, fill: kind(image).enhance(1 + change)


OPERATIONS: dict[str, Callable[[Image.Image, float, Fill], Image.Image]] = {
    'shear_x': _shear_x,
    'shear_y': _shear_y,
    'translate_x': _translate_x,
    'translate_y': _translate_y,
    'rotate': _rotate,
    'color': _enhance(ImageEnhance.Color),
    'contrast': _enhance(ImageEnhance.Contrast),
    'sharpness': _enhance(ImageEnhance.Sharpness),
    'brightness': _enhance(ImageEnhance.Brightness),
    'posterize': lambda image, bits, fill: ImageOps.posterize(image, int(round(bits))),
    'solarize': lambda image, threshold, fill: ImageOps.solarize(image, threshold),
    'auto_contrast': lambda image, magnitude, fill: ImageOps.autocontrast(image),
    'equalize': lambda image, magnitude, fill: ImageOps.equalize(image),
    'invert': lambda image, magnitude, fill: ImageOps.invert(image),
}


def apply_operation(image: np.ndarray, operation: str, magnitude: float, fill: Fill = (128, 128, 128)) -> np.ndarray:
    """Apply one operation to one image.

    Args:
        image (np.ndarray): RGB, uint8, shape ``(H, W, 3)``; it is not changed.
        operation (str): A key of :data:`OPERATIONS`.
        magnitude (float): With its sign; see ``policies.MAGNITUDES`` for the units. Ignored by operations without one.
        fill (tuple[int, int, int]): Colour of pixels from outside of the image. Defaults to grey.

    Returns:
        np.ndarray: A new image, uint8, shape ``(H, W, 3)``.

    Raises:
        ValueError: If the operation is unknown.
    """
    if operation not in OPERATIONS:
        raise ValueError(f'operation {operation!r} is unknown; the operations are {sorted(OPERATIONS)}.')
    return np.array(OPERATIONS[operation](Image.fromarray(image), magnitude, fill))
