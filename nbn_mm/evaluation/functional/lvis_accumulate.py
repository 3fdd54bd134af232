"""Precision and recall from match records."""
from dataclasses import dataclass

import numpy as np

from .lvis_ground_truth import LVISGroundTruth
from .lvis_protocol import MAX_DETS, check_iou_type, check_max_dets
from .lvis_records import LVISRecords


@dataclass(frozen=True, eq=False)
class LVISResult:
    """Precision and recall, -1 where a category has no annotation in an area range.

    Attributes:
        precision (np.ndarray): By IoU threshold, recall threshold, category and area range: float64 of shape
            ``(10, 101, K, 4)``.
        recall (np.ndarray): Float64 of shape ``(10, K, 4)``.
        max_dets (int): Detections that counted in an image.
    """

    precision: np.ndarray
    recall: np.ndarray
    max_dets: int


class LVISAccumulator:
    """Gathers the records of images, in any order and from any rank.

    Args:
        ground_truth (LVISGroundTruth): The annotations.
        iou_type (str): ``'bbox'`` or ``'segm'``.
        max_dets (int): Detections that count in an image. Defaults to 300.
    """

    def __init__(self, ground_truth: LVISGroundTruth, iou_type: str, max_dets: int = MAX_DETS) -> None:
        self.ground_truth = ground_truth
        self.iou_type = check_iou_type(iou_type)
        self.max_dets = check_max_dets(max_dets)
        self._records: dict[int, LVISRecords] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, records: LVISRecords) -> None:
        """Take the records of one image; of an image that comes again (padding of a distributed sampler) the first count.

        Raises:
            ValueError: If the image is unknown.
        """
        self._records.setdefault(self.ground_truth.index(records.img_id), records)

    def accumulate(self) -> LVISResult:
        """Precision and recall over all images; those never given count as images without detections."""
        raise NotImplementedError
