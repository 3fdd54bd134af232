"""Run-length encodings (RLE, as COCO writes them) of masks that are known within boxes only."""
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Regions:
    """The part of an image in which each of n masks may be set.

    Args:
        x (np.ndarray): First column of each, shape ``(n, )``.
        y (np.ndarray): First row.
        width (np.ndarray): Number of columns, at least 0.
        height (np.ndarray): Number of rows, at least 0.
    """
    x: np.ndarray
    y: np.ndarray
    width: np.ndarray
    height: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: np.ndarray) -> 'Regions':
        return Regions(self.x[index], self.y[index], self.width[index], self.height[index])

    @property
    def areas(self) -> np.ndarray:
        """np.ndarray: Pixels of each, shape ``(n, )``."""
        return self.width * self.height


def ragged(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``starts[i], starts[i] + 1, …``, ``counts[i]`` numbers for each i in turn, and the i of each number."""
    owners = np.repeat(np.arange(len(counts)), counts)
    return np.arange(len(owners)) + (starts - np.cumsum(counts) + counts)[owners], owners


def encode_regions(pixels: Tensor, regions: Regions, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Encode masks from the pixels of their regions; where a mask starts and ends is found on the pixels' device.

    Equal, byte by byte, to pycocotools' ``encode`` of the whole image's pixels.

    Args:
        pixels (Tensor): Bool, the regions' pixels one region after the other and in each column after column.
        regions (Regions): Of n masks.
        size (tuple[int, int]): Height and width of the image.

    Returns:
        list[dict]: n compressed RLEs, ``size`` and ``counts`` (bytes).
    """
    from pycocotools import mask
    if not len(regions):
        return []
    height, width = size
    columns, owners = ragged(regions.x, np.where(regions.height > 0, regions.width, 0))
    lengths = regions.height[owners]
    ends = np.cumsum(lengths)
    starts = ends - lengths  # of columns among the pixels
    first, last = _runs(pixels, starts, ends)
    column = np.searchsorted(starts, first, side='right') - 1
    shift = columns * height + regions.y[owners] - starts  # from an index of a pixel to one of the image
    owner, first, last = owners[column], first + shift[column], last + shift[column]
    # a run that reaches the bottom and one that starts at the top of the next column are one
    same = np.zeros(len(first) + 1, bool)
    same[1:-1] = (first[1:] == last[:-1]) & (owner[1:] == owner[:-1])
    owner, first, last = owner[~same[:-1]], first[~same[:-1]], last[~same[1:]]
    # lengths of runs of 0 and 1 by turns: first zeros, in the end those behind the last run, if any
    number = np.bincount(owner, minlength=len(regions))
    counts = np.stack([first, last], 1).reshape(-1)
    previous = np.concatenate([[0], counts[:-1]])
    bounds = 2 * np.concatenate([[0], np.cumsum(number)])
    ended = np.zeros(len(regions), np.int64)
    filled = number > 0
    ended[filled] = counts[bounds[1:][filled] - 1]
    previous[bounds[:-1][filled]] = 0
    counts = counts - previous
    behind = height * width - ended
    lengths = [np.append(counts[bounds[i]:bounds[i + 1]], behind[i:i + (behind[i] > 0)]) for i in range(len(regions))]
    return mask.frPyObjects([dict(size=[height, width], counts=each) for each in lengths], height, width)


def _runs(pixels: Tensor, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First index of each run of ones within a column, and the index behind its last one."""
    if not len(pixels):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    filled = ends > starts
    top, bottom = (torch.from_numpy(index[filled]).to(pixels.device) for index in (starts, ends - 1))
    first, last = pixels.clone(), pixels.clone()
    first[1:] &= ~pixels[:-1]
    last[:-1] &= ~pixels[1:]
    first[top], last[bottom] = pixels[top], pixels[bottom]
    found = [edge.nonzero().squeeze(1).cpu().numpy() for edge in (first, last)]
    return found[0], found[1] + 1
