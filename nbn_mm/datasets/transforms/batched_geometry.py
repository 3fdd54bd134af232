"""Crop, flip and Cutout on batches."""
import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from .batched_transform import BatchedTransform, Drawn


def _sides(padding: int | Sequence[int] | None) -> tuple[int, int, int, int]:
    """Padding as (left, top, right, bottom), from mmcv's one, two or four numbers."""
    sides = (padding or 0, ) if padding is None or isinstance(padding, int) else tuple(padding)
    if len(sides) not in (1, 2, 4) or not all(isinstance(side, int) and side >= 0 for side in sides):
        raise ValueError(f'RandomCrop: padding={padding!r} must be one, two or four integers of at least 0.')
    return sides * (4 // len(sides))


class BatchedCropFlip(BatchedTransform):
    """mmpretrain's RandomCrop and mmcv's RandomFlip after it, as one choice of source pixels.

    Args:
        crop_size (int or Sequence[int], optional): Height and width. None: no crop.
        padding (int or Sequence[int], optional): Border of constant value that is added first.
        pad_if_needed (bool): Whether smaller images are padded to the size. Defaults to False.
        pad_val (int or Sequence[int]): Value of added pixels: 0, or one for each channel. Defaults to 0.
        prob (float): Probability of a horizontal flip. Defaults to 0.

    Raises:
        ValueError: If an argument is none of these.
    """
    device_keys = ('start', )

    def __init__(self, crop_size: int | Sequence[int] | None = None, padding: int | Sequence[int] | None = None,
                 pad_if_needed: bool = False, pad_val: int | Sequence[int] = 0, prob: float = 0.) -> None:
        size = (crop_size, ) * 2 if crop_size is None or isinstance(crop_size, int) else tuple(crop_size)
        if crop_size is not None and (len(size) != 2 or not all(isinstance(s, int) and s > 0 for s in size)):
            raise ValueError(f'RandomCrop: crop_size={crop_size!r} must be one or two positive integers.')
        values = (pad_val, ) * 3 if isinstance(pad_val, int) else tuple(pad_val)
        if len(values) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in values):
            raise ValueError(f'RandomCrop: pad_val={pad_val!r} must be 0 or three integers from 0 to 255.')
        if isinstance(pad_val, int) and pad_val:
            raise ValueError(f'RandomCrop: pad_val={pad_val} pads the first channel alone per image (so '
                             f'does OpenCV); write pad_val=({pad_val}, {pad_val}, {pad_val}).')
        if isinstance(prob, bool) or not isinstance(prob, (int, float)) or not 0 <= prob <= 1:
            raise ValueError(f'RandomFlip: prob={prob!r} must be a number from 0 to 1 in the batched pipeline.')
        self.crop_size, self.padding, self.pad_val = None if crop_size is None else size, _sides(padding), values
        self.pad_if_needed, self.prob = pad_if_needed, prob

    def takes_flip(self, other: BatchedTransform) -> bool:
        """Whether ``other`` is a mere flip that this one can do as well."""
        return isinstance(other, BatchedCropFlip) and other.crop_size is None and not self.prob

    def _borders(self, height: int, width: int) -> tuple[int, int, int, int]:
        left, top, right, bottom = self.padding
        if self.pad_if_needed and self.crop_size:
            more_rows = math.ceil(max(0, self.crop_size[0] - height - top - bottom) / 2)
            more_columns = math.ceil(max(0, self.crop_size[1] - width - left - right) / 2)
            return left + more_columns, top + more_rows, right + more_columns, bottom + more_rows
        return left, top, right, bottom

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """The crop size, or less where the padded image is smaller."""
        if self.crop_size is None:
            return height, width
        left, top, right, bottom = self._borders(height, width)
        return min(self.crop_size[0], height + top + bottom), min(self.crop_size[1], width + left + right)

    def draw(self, generator: np.random.Generator, number: int, height: int, width: int) -> Drawn:
        """Offset of the crop in the padded image and whether it is flipped."""
        left, top, right, bottom = self._borders(height, width)
        rows, columns = self.output_size(height, width)
        full_rows, full_columns = height + top + bottom, width + left + right
        row = generator.integers(full_rows - rows + 1, size=number)
        column = generator.integers(full_columns - columns + 1, size=number)
        flip = generator.random(number) < self.prob
        # The mirrored batch follows the batch itself in memory.
        image = np.arange(number) + number * flip
        first = np.where(flip, full_columns - columns - column, column)
        start = (image * 3 * full_rows + row) * full_columns + first
        return dict(top=row, left=column, flip=flip, start=start)

    def apply(self, images: Tensor, drawn: Mapping[str, Tensor | np.ndarray]) -> Tensor:
        """See :class:`BatchedTransform`."""
        number, _, height, width = images.shape
        rows, columns = self.output_size(height, width)
        left, top, right, bottom = self._borders(height, width)
        full_rows, full_columns = height + top + bottom, width + left + right
        canvas = images.new_full((1 + (self.prob > 0), number, 3, full_rows, full_columns), self.pad_val[0])
        for channel, value in enumerate(self.pad_val):
            if value != self.pad_val[0]:
                canvas[:, :, channel] = value
        canvas[0, :, :, top:top + height, left:left + width] = images
        if self.prob:
            canvas[1, :, :, top:top + height, right:right + width] = images.flip(3)
        # Each row of the result lies in one piece in the canvas: copying pieces is several times faster than pixels.
        pieces = canvas.view(-1).as_strided((max(canvas.numel() - columns + 1, 0), columns), (1, 1))
        starts = drawn['start'].view(-1, 1, 1) + _row_starts(full_rows, full_columns, rows, images.device)
        return pieces.index_select(0, starts.view(-1)).view(number, 3, rows, columns)


@cache
def _row_starts(full_rows: int, full_columns: int, rows: int, device: torch.device) -> Tensor:
    """Where the rows of a crop lie, from its first pixel on, int64, shape ``(3, rows)``."""
    # Made on the host: what is kept must be complete for every stream that finds it later.
    channels = torch.arange(3)[:, None] * full_rows
    return ((channels + torch.arange(rows)) * full_columns).to(device)


@cache
def _outside(size: int, length: int, device: torch.device) -> Tensor:
    """1 outside of the square, uint8, shape ``(length, length)``: by centre, position."""
    positions = torch.arange(length)
    distance = positions - (positions[:, None] - size // 2)
    return ((distance < 0) | (distance >= size)).to(device, torch.uint8)


class BatchedCutout(BatchedTransform):
    """Counterpart of ``CIFARCutout``: a black square, clipped at the border.

    Args:
        size (int): Side of the square in pixels.
    """
    device_keys = ('row', 'column')

    def __init__(self, size: int) -> None:
        self.size = size

    def draw(self, generator: np.random.Generator, number: int, height: int, width: int) -> Drawn:
        """Centre of the square."""
        return dict(row=generator.integers(height, size=number), column=generator.integers(width, size=number))

    def apply(self, images: Tensor, drawn: Mapping[str, Tensor | np.ndarray]) -> Tensor:
        """See :class:`BatchedTransform`."""
        rows, columns = (_outside(self.size, length, images.device).index_select(0, drawn[key])
                         for key, length in zip(self.device_keys, images.shape[2:], strict=True))
        return images * (rows.unsqueeze(2) | columns.unsqueeze(1)).unsqueeze(1)
