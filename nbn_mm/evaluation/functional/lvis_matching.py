"""Matching of one image's detections with its annotations, over all categories, area ranges and thresholds at once."""
from collections.abc import Sequence
from typing import Any

import numpy as np

from .lvis_ground_truth import LVISGroundTruth
from .lvis_protocol import (
    ALL_BITS,
    ALL_THRESHOLDS,
    FIRST_BITS,
    IOU_THRESHOLDS,
    MAX_DETS,
    area_bits,
    check_iou_type,
    check_max_dets,
)
from .lvis_records import LVISRecords
from .lvis_segmentation import Rle

# Where an IoU suffices that reaches the first n thresholds, n = 0 … 10, in every area range.
REACHED = [FIRST_BITS * ((1 << n) - 1) for n in range(len(IOU_THRESHOLDS) + 1)]


class LVISMatcher:
    """Turns the detections of an image into match records.

    Args:
        ground_truth (LVISGroundTruth): The annotations.
        iou_type (str): ``'bbox'`` or ``'segm'``. Defaults to ``'bbox'``.
        max_dets (int): Detections that count in an image. Defaults to 300.

    Raises:
        ValueError: If ``iou_type`` or ``max_dets`` is none of these.
    """

    def __init__(self, ground_truth: LVISGroundTruth, iou_type: str = 'bbox', max_dets: int = MAX_DETS) -> None:
        self.ground_truth = ground_truth
        self.iou_type = check_iou_type(iou_type)
        self.max_dets = check_max_dets(max_dets)
        self._num_classes = len(ground_truth.cat_ids)
        ignored = area_bits(ground_truth.areas)
        ignored[ground_truth.ignore] = ALL_BITS
        self._ignored = ignored

    def kept(self, img_id: Any, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The detections that count: the best ``max_dets`` of the image, of them those that pass the federated filter.

        Args:
            img_id (Any): The image.
            scores (np.ndarray): Shape ``(N, )``.
            labels (np.ndarray): Category indices, shape ``(N, )``.

        Returns:
            np.ndarray: Indices by descending score; of equal scores the earlier detection comes first.

        Raises:
            ValueError: If shapes don't fit, a score is NaN, a label is no category index, or the image is unknown.
        """
        raise NotImplementedError

    def match(self, img_id: Any, scores: np.ndarray, labels: np.ndarray, boxes: np.ndarray | None = None,
              masks: Sequence[Rle] | None = None) -> LVISRecords:
        """Match the detections of an image.

        Takes all N detections, or those that :meth:`kept` names, in its order: the records are the same, because what
        is kept is kept again. So masks need only be encoded for these.

        Args:
            img_id (Any): The image.
            scores (np.ndarray): Shape ``(N, )``.
            labels (np.ndarray): Category indices, shape ``(N, )``.
            boxes (np.ndarray, optional): x, y, w, h, shape ``(N, 4)``; needed for ``'bbox'``. Defaults to None.
            masks (Sequence[dict], optional): Compressed RLEs, length N; needed for ``'segm'``. Defaults to None.

        Returns:
            LVISRecords: For :class:`~nbn_mm.evaluation.functional.LVISAccumulator`.

        Raises:
            ValueError: As :meth:`kept`, or if the boxes or masks are missing or of another number.
        """
        raise NotImplementedError
