"""AutoAugment's operations from their definitions, pixel by pixel, without Pillow.

Images are lists or uint8 arrays of shape (H, W, 3). Float steps are those of Pillow: single precision where an image is
blended, and truncation to a byte.
"""
import math

import numpy as np


def _byte(value):
    return 0 if value <= 0 else 255 if value >= 255 else int(value)


def _per_pixel(image, function):
    out = np.empty_like(image)
    for y, x, c in np.ndindex(image.shape):
        out[y, x, c] = function(int(image[y, x, c]))
    return out


def _blend(image, degenerate, factor):
    """degenerate + factor · (image − degenerate)."""
    low, high = degenerate.astype(np.float32), image.astype(np.float32)
    mixed = low + np.float32(factor) * (high - low)
    return np.array([_byte(v) for v in mixed.ravel()], np.uint8).reshape(image.shape)


def _grey(image):
    """ITU-R 601 luma in 16-bit fixed point, shape (H, W)."""
    r, g, b = (image[..., c].astype(np.int64) for c in range(3))
    return (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16


def _sample(image, matrix, fill, pick):
    """Affine map from the centre of each pixel to its source; outside of the image: fill."""
    height, width = image.shape[:2]
    out = np.empty_like(image)
    a, b, c, d, e, f = matrix
    for y in range(height):
        for x in range(width):
            sx, sy = a * (x + 0.5) + b * (y + 0.5) + c, d * (x + 0.5) + e * (y + 0.5) + f
            inside = 0 <= sx < width and 0 <= sy < height
            out[y, x] = pick(image, sx, sy) if inside else fill
    return out


def _nearest(image, x, y):
    return image[int(math.floor(y)), int(math.floor(x))]


def _cubic(values, t):
    """Cubic convolution with a = −1 through four neighbours."""
    v1, v2, v3, v4 = values
    return v2 + t * ((v3 - v1) + t * ((2 * (v1 - v2) + v3 - v4) + t * (v2 - v1 - v3 + v4)))


def _bicubic(image, x, y):
    height, width = image.shape[:2]
    x, y = x - 0.5, y - 0.5
    left, top = math.floor(x), math.floor(y)
    pixel = []
    for c in range(3):
        rows = []
        for j in range(-1, 3):
            row = min(max(top + j, 0), height - 1)
            cells = [float(image[row, min(max(left + i, 0), width - 1), c]) for i in range(-1, 3)]
            rows.append(_cubic(cells, x - left))
        pixel.append(_byte(_cubic(rows, y - top)))
    return pixel


def shear_x(image, slope, fill):
    return _sample(image, (1, slope, 0, 0, 1, 0), fill, _bicubic)


def shear_y(image, slope, fill):
    return _sample(image, (1, 0, 0, slope, 1, 0), fill, _bicubic)


def translate_x(image, share, fill):
    return _sample(image, (1, 0, share * image.shape[1], 0, 1, 0), fill, _nearest)


def translate_y(image, share, fill):
    return _sample(image, (1, 0, 0, 0, 1, share * image.shape[0]), fill, _nearest)


def rotate(image, degrees, fill):
    """Counter-clockwise about the centre."""
    height, width = image.shape[:2]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cx, cy = width / 2, height / 2
    return _sample(image, (cos, -sin, cx - cos * cx + sin * cy, sin, cos, cy - sin * cx - cos * cy), fill, _nearest)


def brightness(image, change, fill):
    return _blend(image, np.zeros_like(image), 1 + change)


def contrast(image, change, fill):
    mean = int(_grey(image).mean() + 0.5)
    return _blend(image, np.full_like(image, mean), 1 + change)


def color(image, change, fill):
    return _blend(image, np.repeat(_grey(image)[..., None], 3, -1), 1 + change)


def sharpness(image, change, fill):
    smooth = image.copy()
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    for y in range(1, image.shape[0] - 1):
        for x in range(1, image.shape[1] - 1):
            for c in range(3):
                smooth[y, x, c] = _byte((image[y - 1:y + 2, x - 1:x + 2, c] * kernel).sum() + 0.5)
    return _blend(image, smooth, 1 + change)


def posterize(image, bits, fill):
    return _per_pixel(image, lambda v: v // 2**(8 - round(bits)) * 2**(8 - round(bits)))


def solarize(image, threshold, fill):
    return _per_pixel(image, lambda v: v if v < threshold else 255 - v)


def invert(image, magnitude, fill):
    return _per_pixel(image, lambda v: 255 - v)


def auto_contrast(image, magnitude, fill):
    out = image.copy()
    for c in range(3):
        low, high = int(image[..., c].min()), int(image[..., c].max())
        if high > low:
            scale = 255. / (high - low)
            table = [_byte(v * scale - low * scale) for v in range(256)]
            out[..., c] = _per_pixel(image[..., c:c + 1], table.__getitem__)[..., 0]
    return out


def equalize(image, magnitude, fill):
    """The cumulative histogram, in steps of the (N − last bin) // 255."""
    out = image.copy()
    for c in range(3):
        histogram = np.bincount(image[..., c].ravel(), minlength=256).tolist()
        filled = [count for count in histogram if count]
        step = (sum(filled) - filled[-1]) // 255
        if len(filled) < 2 or step == 0:
            continue
        table, total = [], step // 2
        for count in histogram:
            table.append(min(total // step, 255))
            total += count
        out[..., c] = _per_pixel(image[..., c:c + 1], table.__getitem__)[..., 0]
    return out
