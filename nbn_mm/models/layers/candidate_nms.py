"""NMS within classes on the best candidates only, with the result of NMS over all of them.

In greedy NMS a box is suppressed by better boxes of its class alone. So NMS on the best k candidates decides these k
for good, and once enough of them survive, no other candidate is looked at. With 1,203 classes and a score threshold of
1e-4 that leaves a few thousand of up to 1.2 million boxes to decode.

Classes are told apart by their labels. mmcv's ``batched_nms`` shifts the boxes of class c by c times the image's size
instead; in float32 the spacing of coordinates is 1/8 pixel at class 1,200, so that its IoUs are off by rounding.
"""
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .nms_options import NMSOptions

FIRST_CUT = 512
LARGEST_CUT = 4096  # bounds the pairs of boxes in a cut that are held at once


@dataclass
class Candidates:
    """Boxes in the order of their scores.

    Args:
        boxes (Tensor): Shape ``(n, 4)``, x1, y1, x2, y2.
        scores (Tensor): Shape ``(n, )``, falling.
        labels (Tensor): Shape ``(n, )``.
        rows (Tensor): Index of the proposal of each, shape ``(n, )``.
    """
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Tensor | slice) -> 'Candidates':
        return Candidates(self.boxes[index], self.scores[index], self.labels[index], self.rows[index])

    def followed_by(self, other: 'Candidates') -> 'Candidates':
        """Both in one."""
        return Candidates(*(torch.cat([getattr(part, name) for part in (self, other)])
                            for name in ('boxes', 'scores', 'labels', 'rows')))


def candidate_nms(scores: Tensor,
                  decode: Callable[[Tensor, Tensor], Tensor],
                  score_thr: float,
                  options: NMSOptions,
                  max_num: int = -1,
                  first_cut: int | None = None) -> Candidates:
    """Greedy NMS over all candidates above a score, of which only as many are decoded as the result needs.

    The best candidates are taken in growing cuts until ``max_num`` have survived or there are no more. Equal scores
    come in the order of the proposals, then of the classes.

    Args:
        scores (Tensor): Shape ``(R, C + 1)``; the last column, background, does not count.
        decode (Callable): Gives the boxes ``(n, 4)`` of n proposals ``(n, )`` for n labels ``(n, )``.
        score_thr (float): Candidates are above it.
        options (NMSOptions): Of the NMS.
        max_num (int): Survivors wanted, none or negative for all. Defaults to -1.
        first_cut (int, optional): Candidates of the first cut. Defaults to None: three times ``max_num``, within
            bounds.

    Returns:
        Candidates: The survivors.

    Raises:
        ValueError: If a score is NaN.
    """
    if scores.isnan().any():
        rows = int(scores.isnan().any(1).sum())
        raise ValueError(f'{rows} of {len(scores)} proposals have scores that are NaN: the network has diverged, or '
                         'its input is not finite. Check the checkpoint and the image.')
    limits = [limit for limit in (max_num, options.max_num) if limit and limit > 0]
    wanted = min(limits) if limits else None
    above = scores > max(score_thr, options.score_threshold if options.score_threshold > 0 else score_thr)
    above[:, -1] = False
    index = above.reshape(-1).nonzero().squeeze(1)
    values = scores.reshape(-1)[index]
    cut = first_cut or min(max(FIRST_CUT, 3 * (wanted or 0)), LARGEST_CUT)
    found = None
    while found is None or (len(values) and (wanted is None or len(found) < wanted)):
        chosen = best(values, cut)
        rows = torch.div(index[chosen], scores.size(1), rounding_mode='floor')
        labels = index[chosen] - rows * scores.size(1)
        block = Candidates(decode(rows, labels), values[chosen], labels, rows)
        found = _survivors(found, block, options)
        if len(chosen) == len(values):
            break
        left = torch.ones_like(values, dtype=torch.bool)
        left[chosen] = False
        index, values = index[left], values[left]
        cut = min(2 * cut, LARGEST_CUT)
    return found if wanted is None else found[:wanted]


def best(values: Tensor, number: int) -> Tensor:
    """Indices of the largest values, falling; equal ones in the order of their indices.

    Args:
        values (Tensor): Shape ``(n, )``.
        number (int): How many.

    Returns:
        Tensor: Shape ``(min(n, number), )``.
    """
    if number >= len(values):
        return values.sort(descending=True, stable=True).indices
    least = values.topk(number, sorted=False).values.min()
    larger = (values > least).nonzero().squeeze(1)
    equal = (values == least).nonzero().squeeze(1)[:number - len(larger)]
    chosen = torch.cat([larger, equal])
    return chosen[values[chosen].sort(descending=True, stable=True).indices]


def _survivors(found: Candidates | None, block: Candidates, options: NMSOptions) -> Candidates:
    """Survivors of better cuts and those of the next one."""
    def groups(part: Candidates) -> Tensor:
        return torch.zeros_like(part.labels) if options.class_agnostic else part.labels

    if options.iou_threshold is not None and len(block):
        if found is not None and len(found):
            order = groups(found).argsort()
            first, second = pairs_of_groups(groups(found)[order], groups(block))
            hit = overlapping(found.boxes[order], block.boxes, first, second, options)
            free = torch.ones_like(block.labels, dtype=torch.bool)
            free[second[hit]] = False
            block = block[free]
        block = block[_greedy(block.boxes, groups(block), options)]
    return block if found is None else found.followed_by(block)


def _greedy(boxes: Tensor, groups: Tensor, options: NMSOptions) -> Tensor:
    """Which boxes survive, shape ``(n, )`` of bool; better ones come first."""
    order = groups.argsort(stable=True)
    first, second = pairs_of_groups(groups[order], None)
    first, second = order[first], order[second]
    hit = overlapping(boxes, boxes, first, second, options)
    first, second = first[hit], second[hit]
    keep = torch.ones_like(groups, dtype=torch.bool)
    # A box goes if a better one that stays overlaps it. After t rounds the first t boxes of a class are decided, mostly
    # all are after a few.
    while True:
        stay = torch.ones_like(keep)
        stay[second[keep[first]]] = False
        if torch.equal(stay, keep):
            return keep
        keep = stay


def pairs_of_groups(groups: Tensor, others: Tensor | None) -> tuple[Tensor, Tensor]:
    """Index pairs of equal groups.

    Args:
        groups (Tensor): Rising, shape ``(n, )``.
        others (Tensor, optional): Shape ``(m, )``. None: pairs ``i < j`` within ``groups``.

    Returns:
        tuple[Tensor, Tensor]: Indices into ``groups`` and into ``others`` (or ``groups``).
    """
    if others is None:
        start = torch.searchsorted(groups, groups)
        counts = torch.arange(len(groups), device=groups.device) - start
    else:
        start = torch.searchsorted(groups, others)
        counts = torch.searchsorted(groups, others, right=True) - start
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    second = torch.arange(len(counts), device=groups.device).repeat_interleave(counts, output_size=total)
    first = torch.arange(total, device=groups.device) + (start - ends + counts)[second]
    return first, second


def overlapping(boxes: Tensor, others: Tensor, first: Tensor, second: Tensor, options: NMSOptions) -> Tensor:
    """Whether the IoU of pairs is above the threshold, in float32 and in the order of mmcv's operations.

    Args:
        boxes (Tensor): Shape ``(n, 4)``.
        others (Tensor): Shape ``(m, 4)``.
        first (Tensor): Indices into ``boxes``, shape ``(p, )``.
        second (Tensor): Indices into ``others``, shape ``(p, )``.
        options (NMSOptions): Threshold and offset.

    Returns:
        Tensor: Bool, shape ``(p, )``.
    """
    a, b = boxes.float()[first], others.float()[second]
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2]) + options.offset).clamp_(min=0)
    intersection = sides[:, 0] * sides[:, 1]
    area_a, area_b = ((box[:, 2:] - box[:, :2] + options.offset).prod(1) for box in (a, b))
    return intersection / (area_a + area_b - intersection) > options.iou_threshold
