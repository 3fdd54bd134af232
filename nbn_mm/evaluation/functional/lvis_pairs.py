"""The pairs of detection and annotation of one category whose IoU reaches the lowest threshold, by pycocotools."""
from collections.abc import Sequence
from typing import Any

import numpy as np

from .lvis_ground_truth import LVISGroundTruth
from .lvis_protocol import IOU_THRESHOLDS
from .lvis_segmentation import Rle

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


def box_pairs(labels: np.ndarray, boxes: np.ndarray, gt_labels: np.ndarray, gt_boxes: np.ndarray) -> Pairs:
    """Pairs of boxes.

    Args:
        labels (np.ndarray): Category indices of the detections, shape ``(N, )``.
        boxes (np.ndarray): x, y, w, h, float64 of shape ``(N, 4)``.
        gt_labels (np.ndarray): Category indices of the annotations, shape ``(M, )``.
        gt_boxes (np.ndarray): Float64 of shape ``(M, 4)``.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: Index of the detection, index of the annotation and IoU of each pair.
    """
    from pycocotools import mask
    dets = np.flatnonzero(np.isin(labels, gt_labels))
    if not len(dets):
        return _no_pairs()
    ious = mask.iou(boxes[dets], gt_boxes, [0] * len(gt_labels))
    rows, gts = np.nonzero((ious >= IOU_THRESHOLDS[0]) & (labels[dets, None] == gt_labels))
    return dets[rows], gts, ious[rows, gts]


def mask_pairs(labels: np.ndarray, rles: np.ndarray, ground_truth: LVISGroundTruth, img_id: Any) -> Pairs:
    """Pairs of masks; IoU is computed within each category only.

    Args:
        labels (np.ndarray): Category indices of the detections, shape ``(N, )``.
        rles (np.ndarray): Compressed RLEs, objects of shape ``(N, )``.
        ground_truth (LVISGroundTruth): The annotations.
        img_id (Any): The image.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: As :func:`box_pairs`.
    """
    from pycocotools import mask
    gt_labels = ground_truth.labels[ground_truth.annotations_of(img_id)]
    found = []
    for label in np.unique(labels[np.isin(labels, gt_labels)]):
        dets, gts = np.flatnonzero(labels == label), np.flatnonzero(gt_labels == label)
        ious = mask.iou(list(rles[dets]), ground_truth.rles(img_id, gts.tolist()), [0] * len(gts))
        rows, columns = np.nonzero(ious >= IOU_THRESHOLDS[0])
        found.append((dets[rows], gts[columns], ious[rows, columns]))
    return tuple(np.concatenate(column) for column in zip(*found, strict=True)) if found else _no_pairs()


def mask_areas(rles: Sequence[Rle]) -> np.ndarray:
    """Pixels of each mask, float64 of shape ``(N, )``."""
    from pycocotools import mask
    # In parts: pycocotools 2.0 puts the number of masks into a uint8, which NumPy 2 refuses above 255.
    parts = [mask.area(list(rles[start:start + 255])) for start in range(0, len(rles), 255)]
    return np.concatenate(parts).astype(np.float64) if parts else np.empty(0)


def _no_pairs() -> Pairs:
    nothing = np.empty(0, dtype=np.int64)
    return nothing, nothing, np.empty(0)
