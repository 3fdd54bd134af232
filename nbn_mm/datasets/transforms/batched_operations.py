"""AutoAugment's operations on batches, equal to Pillow's bit by bit, on any device and without waiting for it.

The host sorts the images by kind of operation; each kind then is a few tensor operations on a slice of the batch.
"""
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from .image_operations import Fill
from .operation_bank import KINDS, Entry, OperationBank, kind_of, lookup_rows


@cache  # a captured graph goes on reading it
def _bank(entries: tuple[Entry, ...], height: int, width: int, fill: Fill, device: torch.device) -> OperationBank:
    return OperationBank(entries, height, width, fill, device)


def grey(images: Tensor) -> Tensor:
    """ITU-R 601 luma as Pillow rounds it.

    Args:
        images (Tensor): uint8, shape ``(N, 3, H, W)``.

    Returns:
        Tensor: uint8, shape ``(N, H, W)``.
    """
    # Pillow's 16-bit fixed point: products and sums are multiples of 2^-16 below 256, so that float32 holds them.
    red, green, blue = images.to(torch.float32).unbind(1)
    scale = 2.**-16
    mixed = red.mul(19595 * scale).add_(green, alpha=38470 * scale).add_(blue, alpha=7471 * scale).add_(0.5)
    return mixed.to(torch.uint8)


def smooth(images: Tensor) -> Tensor:
    """Pillow's SMOOTH filter: weights 1, and 5 in the centre, over 13; the border stays.

    Args:
        images (Tensor): uint8, shape ``(N, 3, H, W)``.

    Returns:
        Tensor: uint8, shape ``(N, 3, H, W)``.
    """
    out = images.clone()
    if min(images.shape[2:]) < 3:
        return out
    wide = images.to(torch.int16)
    rows = (wide[:, :, :-2] + wide[:, :, 1:-1]).add_(wide[:, :, 2:])
    total = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:]).add_(wide[:, :, 1:-1, 1:-1], alpha=4)
    # (total + 6.5) / 13 is at least 1/26 away from an integer: rounding can't change the byte.
    out[:, :, 1:-1, 1:-1] = total.to(torch.float32).add_(6.5).mul_(1 / 13)
    return out


def blend(images: Tensor, degenerate: Tensor, factors: Tensor) -> Tensor:
    """``degenerate + factor * (image - degenerate)`` in single precision, clipped and truncated by the caller's copy.

    Args:
        images (Tensor): uint8, shape ``(N, 3, H, W)``.
        degenerate (Tensor): uint8, same shape.
        factors (Tensor): float32, shape ``(N,)``.

    Returns:
        Tensor: float32, same shape as the images, 0 … 255.
    """
    low = degenerate.to(torch.float32)
    # not addcmul: a fused multiply-add rounds once where Pillow rounds twice
    return images.to(torch.float32).sub_(low).mul_(factors.view(-1, 1, 1, 1)).add_(low).clamp_(0, 255)


def equalize_tables(levels: Tensor, highest: Tensor, identity: Tensor) -> Tensor:
    """The lookup tables of histogram equalisation.

    Args:
        levels (Tensor): Values, int64, shape ``(M, H * W)``; M is images × channels.
        highest (Tensor): The largest value of each row, int64, shape ``(M,)``.
        identity (Tensor): 0 … 255, uint8, for rows that Pillow leaves alone.

    Returns:
        Tensor: uint8, shape ``(M, 256)``.
    """
    pixels = levels.shape[1]
    ones = torch.ones((), dtype=torch.int32, device=levels.device).expand_as(levels)
    histogram = ones.new_zeros(len(levels), 256).scatter_add_(1, levels, ones)
    step = (pixels - histogram.gather(1, highest[:, None])).div_(255, rounding_mode='trunc')
    below = histogram.cumsum(1, dtype=torch.int32).sub_(histogram).add_(step.bitwise_right_shift(1))
    # single precision gives the integer quotient of numbers below 2^24, and several times faster
    tables = below.to(torch.float32).div_(step.clamp(min=1)).clamp_(max=255).to(torch.uint8)
    return torch.where(step > 0, tables, identity)


class BatchedOperations:
    """A list of operations, each with its magnitude, of which each image of a batch gets one or none.

    Args:
        entries (Sequence): Distinct (operation, signed magnitude) pairs; see ``policies.MAGNITUDES``.
        fill (tuple): RGB colour of pixels from outside of the image. Defaults to grey.
    """

    def __init__(self, entries: Sequence[Entry], fill: Fill = (128, 128, 128)) -> None:
        self.entries, self.fill = tuple(entries), tuple(fill)
        self._kinds = np.array([KINDS.index(kind_of(operation)) for operation, _ in self.entries], np.int64)
        self._rows = lookup_rows(self.entries)
        self._any_row = np.zeros(len(KINDS), np.int64)
        self._any_row[self._kinds] = self._rows

    def capacities(self, chances: np.ndarray, number: int) -> np.ndarray:
        """Numbers of images of each kind that a batch exceeds about once in a million.

        Args:
            chances (np.ndarray): Probability of each entry, float, shape ``(entries,)``.
            number (int): Images of the batch.

        Returns:
            np.ndarray: int64, shape ``(len(KINDS),)``; 0 for kinds that never occur.
        """
        chance = np.bincount(self._kinds, chances, len(KINDS))
        most = number * chance + 6 * np.sqrt(number * chance * (1 - chance).clip(0)) + 3
        return np.where(chance > 0, np.ceil(most).clip(max=number), 0).astype(np.int64)

    def sort(self, chosen: np.ndarray, positions: np.ndarray | None = None,
             capacities: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Sort the images by the kind of their operation, on the host.

        Args:
            chosen (np.ndarray): Index into the entries, or −1 for none, int64, shape ``(N,)``.
            positions (np.ndarray, optional): Where each image stands in the batch now. Defaults to its own index.
            capacities (np.ndarray, optional): Sizes to which the kinds are filled up with copies of some image, so that
                the results have the same shapes in every batch; not kept if a kind has more images. Defaults to None.

        Returns:
            tuple: For each of the M places of the new batch the image to take, int64, shape ``(M,)``, those without an
            operation last; the row of its table for each of the m others, int64, shape ``(m,)``; the numbers of places
            of each kind, shape ``(len(KINDS),)``; and where each image stands then, int64, shape ``(N,)``.
        """
        kinds = np.where(chosen < 0, len(KINDS), self._kinds[chosen])
        images = np.argsort(kinds, kind='stable')
        counts = np.bincount(kinds, minlength=len(KINDS) + 1)
        places = counts.copy()
        if capacities is not None and (counts[:-1] <= capacities).all():
            places[:] = *capacities, len(chosen)
        shift = np.cumsum(places) - places - (np.cumsum(counts) - counts)
        after = np.empty_like(images)
        after[images] = np.arange(len(images)) + shift[kinds[images]]
        order = np.zeros(places.sum(), np.int64)
        order[after] = np.arange(len(chosen)) if positions is None else positions
        rows = self._any_row.repeat(places[:-1])
        used = chosen >= 0
        rows[after[used]] = self._rows[chosen[used]]
        return order, rows, places[:-1], after

    def apply_(self, images: Tensor, rows: Tensor, counts: np.ndarray) -> Tensor:
        """Apply to each image its operation, in place.

        Args:
            images (Tensor): uint8, contiguous, shape ``(M, 3, H, W)``, in the order of :meth:`sort`.
            rows (Tensor): Second result of :meth:`sort`, on the device of the images.
            counts (np.ndarray): Third result of :meth:`sort`.

        Returns:
            Tensor: ``images``.
        """
        if not len(rows):
            return images
        bank = _bank(self.entries, *images.shape[2:], self.fill, images.device)
        ends = dict(zip(KINDS, np.cumsum(counts).tolist(), strict=True))
        look_up, color, blended, moved = (ends[kind] for kind in ('contrast', 'color', 'sharpness', 'nearest'))
        luma = grey(images[ends['table']:color]) if color > ends['table'] else None
        if look_up:
            _look_up(bank, images[:look_up], rows, ends, luma)
        if blended > look_up:
            degenerate = [luma[look_up - color:].unsqueeze(1).expand(-1, 3, -1, -1)] if color > look_up else []
            if blended > color:
                degenerate.append(smooth(images[color:blended]))
            degenerate = torch.cat(degenerate) if len(degenerate) > 1 else degenerate[0]
            factors = bank.factors.index_select(0, rows[look_up:blended])
            images[look_up:blended] = blend(images[look_up:blended], degenerate, factors)
        if moved > blended:
            _move(bank, images[blended:moved], rows[blended:moved])
        if len(rows) > moved:
            _shear(bank, images[moved:len(rows)], rows[moved:])
        return images


def _look_up(bank: OperationBank, work: Tensor, rows: Tensor, ends: dict[str, int], luma: Tensor | None) -> None:
    """All operations that are a table for each channel."""
    equalized, stretched, fixed, end = (ends[kind] for kind in KINDS[:4])
    pixels = work.shape[2] * work.shape[3]
    values = work.view(end * 3, pixels)
    levels = values.to(torch.int64)
    if stretched:
        highest = values[:stretched * 3].amax(1).to(torch.int64)
    tables = [equalize_tables(levels[:equalized * 3], highest[:equalized * 3], bank.levels)] if equalized else []
    if end > equalized:
        chosen = rows[equalized:end, None].repeat(1, 3)
        if stretched > equalized:
            lowest = values[equalized * 3:stretched * 3].amin(1).to(torch.int64)
            chosen[:stretched - equalized].view(-1).add_(lowest, alpha=256).add_(highest[equalized * 3:])
        if end > fixed:
            total = luma[:end - fixed].sum((1, 2))
            mean = total.mul_(2).add_(pixels).div_(2 * pixels, rounding_mode='trunc')
            chosen[fixed - equalized:].add_(mean[:, None])
        tables.append(bank.tables.index_select(0, chosen.view(-1)))
    torch.gather(torch.cat(tables) if len(tables) > 1 else tables[0], 1, levels, out=values)


def _move(bank: OperationBank, work: Tensor, rows: Tensor) -> None:
    """Translations and rotations: each pixel is another one or the fill colour."""
    flat = work.view(len(work), 3, -1)
    source = torch.cat([flat, bank.fill.expand(len(work), 3, 1)], 2)
    index = bank.sources.index_select(0, rows).unsqueeze(1).expand(-1, 3, -1)
    torch.gather(source, 2, index, out=flat)


def _shear(bank: OperationBank, work: Tensor, rows: Tensor) -> None:
    """Cubic convolution with a = −1 along one axis, in double precision, in Pillow's order."""
    flat = work.view(len(work), 3, -1)
    index = bank.neighbours.index_select(0, rows).unsqueeze(1).expand(-1, 3, -1)
    v1, v2, v3, v4 = flat.gather(2, index).to(torch.float64).view(len(work), 3, 4, -1).unbind(2)
    distance = bank.distances.index_select(0, rows).unsqueeze(1)
    left, right = v1 - v2, v3 - v4
    value = (left + right).mul_(distance)
    value = left.mul_(2).add_(right).sub_(value).mul_(distance)
    value = value.add_(v3 - v1).mul_(distance).add_(v2).clamp_(0, 255).to(torch.uint8)
    torch.where(bank.inside.index_select(0, rows).unsqueeze(1), value, bank.fill, out=flat)
