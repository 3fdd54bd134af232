"""Greedy NMS class by class over all candidates, one box at a time; and the pixels of a pasted mask, one at a time."""
import numpy as np


def iou(a, b, offset):
    """In float32, one operation after the other."""
    one, zero, offset = np.float32(1), np.float32(0), np.float32(offset)
    width = max(zero, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(zero, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    inter = width * height
    area_a, area_b = ((x[2] - x[0] + offset) * (x[3] - x[1] + offset) * one for x in (a, b))
    with np.errstate(invalid='ignore'):
        return inter / (area_a + area_b - inter)


def per_class_nms(boxes, scores, score_thr, iou_threshold, max_num, offset=0, agnostic=False):
    """``boxes (R, C, 4)``, ``scores (R, C)`` of float32 → list of (proposal, class), the best first.

    Equal scores come in the order of proposals, then of classes.
    """
    candidates = [(-scores[r, c], r, c) for r, c in zip(*np.nonzero(scores > np.float32(score_thr)), strict=True)]
    kept = []
    for _, r, c in sorted(candidates):
        rivals = [k for k in kept if agnostic or k[1] == c]
        if iou_threshold is None or not any(iou(boxes[k], boxes[r, c], offset) > np.float32(iou_threshold)
                                            for k in rivals):
            kept.append((r, c))
    return kept[:max_num] if max_num > 0 else kept
