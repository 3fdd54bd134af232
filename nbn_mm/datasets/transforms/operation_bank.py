"""Tables of AutoAugment's operations for batches of one size, made by Pillow's own operations.

A policy has few distinct magnitudes, so that everything that depends on the magnitude alone is a table: the value of
each of the 256 levels, the source of each pixel of a translation or rotation, the four neighbours of each pixel of a
shear. The tables are computed once for each size and device.
"""
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .image_operations import OPERATIONS, Fill, apply_operation

# How each operation is computed, in the order in which the images of a batch are sorted: histogram equalisation, rows
# of the bank of lookup tables (the last of them by the mean of the grey image), blending (the first by the grey image),
# nearest source pixel, interpolation.
KINDS = ('equalize', 'auto_contrast', 'table', 'contrast', 'color', 'sharpness', 'nearest', 'shear')
_KIND_OF = dict(
    invert='table', posterize='table', solarize='table', brightness='table', translate_x='nearest',
    translate_y='nearest', rotate='nearest', shear_x='shear', shear_y='shear')
Entry = tuple[str, float]


def kind_of(operation: str) -> str:
    """The kind of an operation, one of :data:`KINDS`."""
    if operation not in OPERATIONS:
        raise ValueError(f'operation {operation!r} is unknown; the operations are {sorted(OPERATIONS)}.')
    return _KIND_OF.get(operation, operation)


def value_table(operation: str, magnitude: float) -> np.ndarray:
    """What an operation on single values does to each of them, uint8, shape ``(256,)``."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    return apply_operation(ramp, operation, magnitude)[..., 0].ravel()


def contrast_tables(change: float) -> np.ndarray:
    """The tables for each mean of the grey image, uint8, shape ``(256, 256)``."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return np.concatenate([np.asarray(Image.blend(Image.new('L', (256, 1), mean), ramp, 1 + change))
                           for mean in range(256)])


def auto_contrast_tables() -> np.ndarray:
    """The table for darkest value ``low`` and brightest ``high`` in row ``256 low + high``, uint8, ``(65536, 256)``."""
    levels = np.arange(256)
    tables = np.empty((256, 256, 256), np.uint8)
    for low in range(256):
        scale = 255 / np.maximum(levels - low, 1)[:, None]
        tables[low] = np.clip(levels * scale + -low * scale, 0, 255)
        tables[low, :low + 1] = levels
    return tables.reshape(-1, 256)


def source_map(operation: str, magnitude: float, height: int, width: int) -> np.ndarray:
    """Where each pixel comes from, int64, shape ``(H * W,)``; ``H * W`` stands for the fill colour."""
    pixels = np.arange(height * width)
    coded = np.stack([pixels & 255, pixels >> 8 & 255, 1 + (pixels >> 16)], -1).astype(np.uint8)
    moved = apply_operation(coded.reshape(height, width, 3), operation, magnitude, (0, 0, 0)).reshape(-1, 3)
    r, g, b = moved.astype(np.int64).T
    return np.where(b == 0, height * width, r + (g << 8) + (b - 1 << 16))


def shear_map(operation: str, slope: float, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A shear moves along one axis only, so that Pillow's bicubic sampling needs four neighbours.

    Returns:
        tuple: Their indices, int64, shape ``(4, H * W)``, the distance from the second, float64, shape ``(H * W,)``,
        and whether the pixel lies within the image, bool, shape ``(H * W,)``.
    """
    y, x = np.mgrid[:height, :width] + 0.5
    along, side = (x + slope * y, width) if operation == 'shear_x' else (slope * x + y, height)
    inside = (along >= 0) & (along < side)
    position = along - 0.5
    first = np.floor(position)
    near = np.clip(first.astype(np.int64) + np.arange(-1, 3)[:, None, None], 0, side - 1)
    rows, columns = np.mgrid[:height, :width]
    indices = rows * width + near if operation == 'shear_x' else near * width + columns
    return indices.reshape(4, -1), (position - first).ravel(), inside.ravel()


class OperationBank:
    """The tables of a list of operations on one device, for images of one size.

    Args:
        entries (Sequence): Distinct (operation, signed magnitude) pairs.
        height (int): Of the images.
        width (int): Of the images.
        fill (tuple): RGB colour of pixels from outside of the image.
        device (torch.device): Where the tables live.
    """

    def __init__(self, entries: Sequence[Entry], height: int, width: int, fill: Fill, device: torch.device) -> None:
        def stack(arrays: list, dtype: torch.dtype) -> Tensor | None:
            return torch.from_numpy(np.stack(arrays)).to(device, dtype) if arrays else None

        by_kind = {kind: [entries[index] for index in _members(entries, kind)] for kind in KINDS}
        self.tables = torch.from_numpy(lookup_tables(entries)).to(device)
        self.sources = stack([source_map(*entry, height, width) for entry in by_kind['nearest']], torch.int64)
        shears = [shear_map(*entry, height, width) for entry in by_kind['shear']]
        self.neighbours = stack([shear[0].ravel() for shear in shears], torch.int64)
        self.distances = stack([shear[1] for shear in shears], torch.float64)
        self.inside = stack([shear[2] for shear in shears], torch.bool)
        factors = [1 + change for _, change in by_kind['color'] + by_kind['sharpness']]
        self.factors = torch.tensor(factors, dtype=torch.float32, device=device)
        self.fill = torch.tensor(fill, dtype=torch.uint8, device=device).view(1, 3, 1)
        self.levels = torch.arange(256, dtype=torch.uint8).to(device)  # as all of this: complete for every stream


def lookup_rows(entries: Sequence[Entry]) -> np.ndarray:
    """Row of each entry in the tables of its kind (the first of several), int64, shape ``(entries,)``.

    Lookup tables of all kinds stand in one bank, in the order of :func:`lookup_tables`.
    """
    rows, used = np.zeros(len(entries), np.int64), 0
    for kind, size in (('table', 1), ('contrast', 256), ('auto_contrast', 65536)):
        members = _members(entries, kind)
        rows[members] = used + size * np.arange(len(members))
        used += size * len(members)
    for kinds in (('color', 'sharpness'), ('nearest', ), ('shear', )):
        members = [index for kind in kinds for index in _members(entries, kind)]
        rows[members] = np.arange(len(members))
    return rows


def lookup_tables(entries: Sequence[Entry]) -> np.ndarray:
    """The bank of lookup tables, uint8, shape ``(rows, 256)``."""
    tables = [value_table(*entries[index])[None] for index in _members(entries, 'table')]
    tables += [contrast_tables(entries[index][1]) for index in _members(entries, 'contrast')]
    tables += [auto_contrast_tables() for _ in _members(entries, 'auto_contrast')]
    return np.concatenate(tables) if tables else np.zeros((0, 256), np.uint8)


def _members(entries: Sequence[Entry], kind: str) -> list[int]:
    return [index for index, (operation, _) in enumerate(entries) if kind_of(operation) == kind]
