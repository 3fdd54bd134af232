"""Precision and recall from match records."""
from dataclasses import dataclass

import numpy as np

from .lvis_ground_truth import LVISGroundTruth
from .lvis_protocol import (
    AREAS,
    MAX_DETS,
    NUM_THRESHOLDS,
    RECALL_THRESHOLDS,
    check_iou_type,
    check_max_dets,
)
from .lvis_records import LVISRecords, plain_bits


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
        """Take the records of one image.

        Of an image that comes again the last records count: the padding of a distributed sampler changes nothing, and
        what an interrupted evaluation left gives way.

        Raises:
            ValueError: If the image is unknown.
        """
        self._records[self.ground_truth.index(records.img_id)] = records

    def accumulate(self) -> LVISResult:
        """Precision and recall over all images; those never given count as images without detections."""
        gt = self.ground_truth
        counting = [_bits(gt.counting, area * NUM_THRESHOLDS) for area in range(len(AREAS))]
        annotations = np.stack([np.bincount(gt.labels[where], minlength=len(gt.cat_ids)) for where in counting], axis=1)
        labels, true, false = self._by_category()
        starts = np.searchsorted(labels, np.arange(len(gt.cat_ids) + 1))
        precision = np.full((NUM_THRESHOLDS, len(RECALL_THRESHOLDS), len(gt.cat_ids), len(AREAS)), -1.0)
        recall = np.full((NUM_THRESHOLDS, len(gt.cat_ids), len(AREAS)), -1.0)
        for label in np.flatnonzero(annotations.any(axis=1)):
            where = slice(starts[label], starts[label + 1])
            curves = precision_recall(true[where], false[where], annotations[label])
            counts = annotations[label] > 0
            precision[:, :, label, counts], recall[:, label, counts] = (curve[..., counts] for curve in curves)
        return LVISResult(precision, recall, self.max_dets)

    def _by_category(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, ``true`` and ``false`` of all records by category, descending score, image and rank in the image."""
        records = [self._records[index] for index in sorted(self._records)]
        if not records:
            return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint64)
        labels, scores, true, false = (np.concatenate([getattr(record, name) for record in records])
                                       for name in ('labels', 'scores', 'true', 'false'))
        order = np.argsort(-scores, kind='stable')
        order = order[np.argsort(labels[order], kind='stable')]
        return labels[order], true[order], false[order]


def precision_recall(true: np.ndarray, false: np.ndarray, annotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curves of one category.

    Most detections meet no annotation: they are false at all thresholds of an area range, or at none. Such ones are
    counted once per area range; precision is computed where a detection is something else, for only there it can rise.

    Args:
        true (np.ndarray): The records' ``true`` by descending score, uint64 of shape ``(N, )``.
        false (np.ndarray): The records' ``false``, uint64 of shape ``(N, )``.
        annotations (np.ndarray): Annotations that count in each area range, shape ``(4, )``; the curves of a range
            without any mean nothing.

    Returns:
        tuple[np.ndarray, np.ndarray]: Precision of shape ``(10, 101, 4)`` and recall of shape ``(10, 4)``, float64.
    """
    plain, bits_of_plain = plain_bits(true, false)
    met = np.flatnonzero(~plain)
    bits_of_plain[met] = 0
    precision = np.zeros((NUM_THRESHOLDS, len(RECALL_THRESHOLDS), len(AREAS)))
    recall = np.zeros((NUM_THRESHOLDS, len(AREAS)))
    if not len(met):
        return precision, recall
    for area in np.flatnonzero(annotations):
        bits = np.arange(NUM_THRESHOLDS)[:, None] + area * NUM_THRESHOLDS
        plain = np.cumsum(_bits(bits_of_plain, bits[0]))[met]
        true_sum = np.cumsum(_bits(true[met], bits), axis=1)
        false_sum = np.cumsum(_bits(false[met], bits), axis=1) + plain
        found = true_sum.astype(np.float64)
        curve = found / (false_sum + found + np.spacing(1))
        curve = np.maximum.accumulate(curve[:, ::-1], axis=1)[:, ::-1]
        recall[:, area] = found[:, -1] / annotations[area]
        # The number of true positives at which each recall is reached; a recall of 0 is reached by the first detection,
        # whose precision to the right is that of the first true positive.
        needed = np.searchsorted(np.arange(annotations[area] + 1) / annotations[area], RECALL_THRESHOLDS, side='left')
        needed = np.maximum(needed, 1)
        for threshold in range(NUM_THRESHOLDS):
            at = np.searchsorted(true_sum[threshold], needed, side='left')
            reached = at < len(met)
            precision[threshold, reached, area] = curve[threshold, at[reached]]
    return precision, recall


def _bits(sets: np.ndarray, bits: int | np.ndarray) -> np.ndarray:
    """Whether each set holds a bit."""
    return ((sets >> np.asarray(bits, dtype=np.uint64)) & np.uint64(1)) != 0
