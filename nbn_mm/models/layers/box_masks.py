"""Instance masks as a detector predicts them, a small map and a box each, pasted into the image when someone asks.

Pixels are those of mmdet's paste on the CPU, which samples each map bilinearly within its box and one pixel around it.
"""
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .run_lengths import Regions, encode_regions, ragged

PIXELS_AT_ONCE = 2**23  # that a GPU samples at once, with those that fill up smaller boxes


class BoxMasks:
    """N masks of an image; reads like an array ``(N, H, W)`` of bool, and gives RLEs without making it.

    Args:
        maps (Tensor): Probabilities, shape ``(N, 1, h, w)``.
        boxes (Tensor): x1, y1, x2, y2 in pixels of the image, shape ``(N, 4)``.
        size (tuple[int, int]): Height H and width W of the image.
        threshold (float): Pixels from here on are set.
    """

    def __init__(self, maps: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float) -> None:
        self.maps, self.boxes = maps.detach(), boxes.detach().clone()
        self.size, self.threshold = (int(size[0]), int(size[1])), threshold

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> 'np.ndarray | BoxMasks':
        """One mask ``(H, W)`` of bool for an integer, a part of them otherwise."""
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f'mask {index} of {len(self)}')
            return self[[int(index) % len(self)]].numpy()[0]
        if not isinstance(index, slice):
            index = torch.as_tensor(index, device=self.boxes.device)
            if index.dim() == 0:
                return self[int(index)]
        return BoxMasks(self.maps[index], self.boxes[index], self.size, self.threshold)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.numpy())

    @staticmethod
    def cat(parts: Sequence['BoxMasks']) -> 'BoxMasks':
        """Masks of one image put together again, as mmengine's ``InstanceData`` does."""
        return BoxMasks(torch.cat([part.maps for part in parts]), torch.cat([part.boxes for part in parts]),
                        parts[0].size, parts[0].threshold)

    @property
    def shape(self) -> tuple[int, int, int]:
        """tuple[int, int, int]: N, H, W."""
        return (len(self), *self.size)

    def to(self, *args: Any, **kwargs: Any) -> 'BoxMasks':
        """On another device, as tensors do."""
        return BoxMasks(self.maps.to(*args, **kwargs), self.boxes.to(*args, **kwargs), self.size, self.threshold)

    def cpu(self) -> 'BoxMasks':
        """On the CPU, as tensors do."""
        return self.to('cpu')

    def detach(self) -> 'BoxMasks':
        """These, as they have no gradient."""
        return self

    def numpy(self) -> np.ndarray:
        """All masks, shape ``(N, H, W)`` of bool."""
        from pycocotools import mask
        if not len(self):
            return np.zeros(self.shape, bool)
        return mask.decode(self.rles()).transpose(2, 0, 1).view(bool)

    def astype(self, dtype: Any) -> np.ndarray:
        """:meth:`numpy` in another type."""
        return self.numpy().astype(dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy() if dtype is None else self.astype(dtype)

    def rles(self, indices: Any = None) -> list[dict[str, Any]]:
        """Compressed RLEs, as pycocotools encodes the pixels.

        Args:
            indices (Sequence[int], optional): Of which masks. Defaults to None, all.

        Returns:
            list[dict]: ``size`` and ``counts`` each.

        Raises:
            ValueError: If a box is not finite.
        """
        part = self if indices is None else self[torch.as_tensor(indices, dtype=torch.long)]
        if not part.boxes.isfinite().all():
            raise ValueError('a predicted box is not finite: the network has diverged, or its input is not finite.')
        regions = regions_of(part)
        if device_of(part).type == 'cpu':
            return encode_regions(sample_each(part, regions), regions, self.size)
        # Boxes of one size side by side: little to fill up.
        order = np.argsort(regions.areas, kind='stable')
        part, regions = part[torch.from_numpy(order)], regions[order]
        rles = encode_regions(sample_together(part, regions), regions, self.size)
        return [rles[place] for place in np.argsort(order)]


def device_of(masks: BoxMasks) -> torch.device:
    """Where masks are pasted."""
    return masks.boxes.device


def regions_of(masks: BoxMasks) -> Regions:
    """Where each mask may be set: its box and one pixel around it, within the image."""
    height, width = masks.size
    boxes = masks.boxes.float()  # a half has not each width
    low = (boxes[:, :2].floor() - 1).clamp(min=0)
    high = torch.minimum(boxes[:, 2:].ceil() + 1, boxes.new_tensor([width, height]))
    x1, y1, x2, y2 = torch.cat([low, high], dim=1).long().cpu().numpy().T
    return Regions(x1, y1, np.maximum(x2 - x1, 0), np.maximum(y2 - y1, 0))


def grid_lines(masks: BoxMasks, regions: Regions, axis: int) -> Tensor:
    """Coordinates of the regions' columns (axis 0) or rows (1) in the maps, -1 … 1 over the box, one by one."""
    starts, counts = ((regions.x, regions.width), (regions.y, regions.height))[axis]
    pixels, owners = (torch.from_numpy(index).to(masks.boxes.device) for index in ragged(starts, counts))
    low, high = masks.boxes[:, axis][owners], masks.boxes[:, axis + 2][owners]
    lines = (pixels.float() + 0.5 - low) / (high - low) * 2 - 1
    return torch.where(lines.isinf(), lines.new_zeros(()), lines)  # boxes without extent show the map's middle


def sample_each(masks: BoxMasks, regions: Regions) -> Tensor:
    """The regions' pixels, column after column, mask by mask: the fewest pixels, best on a CPU. Bool, ``(P, )``."""
    maps = masks.maps.float()
    columns, rows = (grid_lines(masks, regions, axis).split(counts.tolist())
                     for axis, counts in ((0, regions.width), (1, regions.height)))
    found = [torch.zeros(0, dtype=torch.bool)]
    for index, (x, y) in enumerate(zip(columns, rows, strict=True)):
        if len(x) and len(y):
            grid = torch.stack([x[:, None].expand(-1, len(y)), y.expand(len(x), -1)], dim=2)
            values = F.grid_sample(maps[index:index + 1], grid[None], align_corners=False)
            found.append((values >= masks.threshold).view(-1))
    return torch.cat(found)


def sample_together(masks: BoxMasks, regions: Regions, at_once: int = PIXELS_AT_ONCE) -> Tensor:
    """The same, many masks at once on a grid of the largest width and height: few kernels, best on a GPU.

    Args:
        masks (BoxMasks): N masks, best sorted by the areas of their boxes.
        regions (Regions): Of N masks.
        at_once (int): Pixels of a grid, at most (but one mask at least).
    """
    maps, device = masks.maps.float(), masks.boxes.device
    lines = [grid_lines(masks, regions, axis) for axis in (0, 1)]
    counts = (regions.width, regions.height)
    found = [torch.zeros(0, dtype=torch.bool, device=device)]
    for start, stop in _chunks(regions, at_once):
        x, y = (_padded(lines[axis], counts[axis], start, stop) for axis in (0, 1))
        if x.numel() and y.numel():
            grid = torch.stack([x[:, :, None].expand(-1, -1, y.size(1)), y[:, None].expand(-1, x.size(1), -1)], dim=3)
            values = F.grid_sample(maps[start:stop], grid, align_corners=False)[:, 0]
            width, height = (torch.from_numpy(c[start:stop]).to(device) for c in counts)
            inside = (torch.arange(x.size(1), device=device) < width[:, None])[:, :, None] & \
                (torch.arange(y.size(1), device=device) < height[:, None])[:, None]
            found.append((values >= masks.threshold)[inside])
    return torch.cat(found)


def _chunks(regions: Regions, at_once: int) -> Iterator[tuple[int, int]]:
    """First and last (exclusive) of neighbours whose common grid has so many pixels at most, one mask at least."""
    start, width, height = 0, 0, 0
    for index, (own_width, own_height) in enumerate(zip(regions.width.tolist(), regions.height.tolist(), strict=True)):
        width, height = max(width, own_width), max(height, own_height)
        if index > start and (index + 1 - start) * width * height > at_once:
            yield start, index
            start, width, height = index, own_width, own_height
    if len(regions):
        yield start, len(regions)


def _padded(lines: Tensor, counts: np.ndarray, start: int, stop: int) -> Tensor:
    """Lines of masks start … stop - 1 as rows of one length; what fills them up is any line."""
    ends = np.cumsum(counts)
    index = (ends - counts)[start:stop, None] + np.arange(counts[start:stop].max(initial=0))
    return lines[torch.from_numpy(np.minimum(index, len(lines) - 1)).to(lines.device)]
