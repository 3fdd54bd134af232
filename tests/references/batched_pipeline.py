"""What the batched pipeline should give, image by image: NumPy for crop, flip and Cutout, Pillow for the operations."""
import numpy as np

from nbn_mm.datasets.transforms import apply_operation


def crop_flip(image, size, borders, value, top, left, flip):
    """Pad (left, top, right, bottom), cut (H, W) at an offset, mirror."""
    left_border, above, right_border, below = borders
    height, width = image.shape[:2]
    padded = np.empty((height + above + below, width + left_border + right_border, 3), np.uint8)
    padded[:] = value
    padded[above:above + height, left_border:left_border + width] = image
    cut = padded[top:top + size[0], left:left + size[1]]
    return cut[:, ::-1].copy() if flip else cut.copy()


def cutout(image, size, row, column):
    out = image.copy()
    for y, x in np.ndindex(image.shape[:2]):
        if row - size // 2 <= y < row - size // 2 + size and column - size // 2 <= x < column - size // 2 + size:
            out[y, x] = 0
    return out


def recipe(images, plan, steps, size=32, padding=4, cut=16):
    """The CIFAR recipe on images (N, 3, H, W) for a plan; ``steps``: the operations drawn for each image."""
    crops, _, cuts = plan.draws
    results = []
    for i, image in enumerate(images.transpose(0, 2, 3, 1)):
        image = crop_flip(image, (size, size), (padding, ) * 4, 0, crops['top'][i], crops['left'][i], crops['flip'][i])
        for operation, magnitude in steps[i]:
            image = apply_operation(image, operation, magnitude)
        results.append(cutout(image, cut, cuts['row'][i], cuts['column'][i]))
    return np.stack(results).transpose(0, 3, 1, 2)
