"""Matching of one image's detections with its annotations, over all categories, area ranges and thresholds at once."""
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from .lvis_ground_truth import LVISGroundTruth
from .lvis_pairs import box_pairs, mask_areas, mask_pairs
from .lvis_protocol import (
    ALL_BITS,
    FIRST_BITS,
    IOU_THRESHOLDS,
    MAX_DETS,
    area_bits,
    check_iou_type,
    check_max_dets,
)
from .lvis_records import LVISRecords
from .lvis_segmentation import Rle

# Where an IoU that reaches the first n thresholds suffices, n = 0 … 10: there, in every area range.
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
        if iou_type == 'bbox' and np.isnan(ground_truth.boxes).any():
            raise ValueError(f"{ground_truth.source}: an annotation has no 'bbox', boxes cannot be evaluated.")

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
        scores, labels = self._checked(img_id, scores, labels)
        order = np.argsort(-scores, kind='stable')[:self.max_dets]
        return order[self._verified(img_id)[labels[order]]]

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
        scores, labels = self._checked(img_id, scores, labels)
        name, given = ('boxes', boxes) if self.iou_type == 'bbox' else ('masks', masks)
        if given is None or len(given) != len(scores):
            raise ValueError(f'image {img_id!r} has {len(scores)} scores and {"no" if given is None else len(given)} '
                             f'{name}; iou_type={self.iou_type!r} needs as many.')
        indices = self.kept(img_id, scores, labels)
        if self.iou_type == 'bbox':
            shapes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)[indices]
            areas = shapes[:, 2] * shapes[:, 3]
        else:
            shapes = np.array([masks[index] for index in indices], dtype=object)
            areas = mask_areas(shapes)
        exists = (areas > 0) & (areas < np.inf)
        indices, shapes, areas = indices[exists], shapes[exists], areas[exists]
        scores, labels = scores[indices], labels[indices]
        true, hidden = self._assign(img_id, labels, shapes)
        excused = area_bits(areas)
        excused[self._flags(self.ground_truth.not_exhaustive(img_id))[labels]] = ALL_BITS
        return LVISRecords(img_id, labels, scores, true, np.uint64(ALL_BITS) & ~(true | hidden | excused))

    def _checked(self, img_id: Any, scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores as float32 or float64 and labels as int32."""
        scores, labels = np.asarray(scores), np.asarray(labels)
        if scores.ndim != 1 or scores.shape != labels.shape:
            raise ValueError(f'image {img_id!r}: scores and labels must have one shape (N,), got {scores.shape} and '
                             f'{labels.shape}.')
        if scores.dtype != np.float32:
            scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
        if np.isnan(scores).any():
            raise ValueError(f'image {img_id!r}: the score of detection {int(np.argmax(np.isnan(scores)))} is NaN. Did '
                             'the model diverge?')
        if len(labels) and not 0 <= labels.min() <= labels.max() < self._num_classes:
            wrong = labels[(labels < 0) | (labels >= self._num_classes)][0]
            raise ValueError(f'image {img_id!r}: label {wrong} is no index of the {self._num_classes} categories of '
                             f'{self.ground_truth.source}. Check num_classes of the head and ann_file of the '
                             'evaluator.')
        return scores, labels.astype(np.int32)

    def _flags(self, labels: np.ndarray) -> np.ndarray:
        """Bool of shape ``(K, )``, true at the labels."""
        flags = np.zeros(self._num_classes, dtype=bool)
        flags[labels] = True
        return flags

    def _verified(self, img_id: Any) -> np.ndarray:
        """Which categories are known to be in the image or not to be there, bool of shape ``(K, )``."""
        flags = self._flags(self.ground_truth.negative(img_id))
        flags[self.ground_truth.labels[self.ground_truth.annotations_of(img_id)]] = True
        return flags

    def _assign(self, img_id: Any, labels: np.ndarray, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where each detection takes an annotation that counts, and where one that is ignored.

        A detection takes, of the annotations that are still free and whose IoU reaches the threshold, the one of the
        largest IoU, the last of several; an ignored one only where none that counts is left. One pass over the pairs
        decides all area ranges and thresholds, as sets of bits.

        Args:
            img_id (Any): The image.
            labels (np.ndarray): Category indices by descending score, shape ``(N, )``.
            shapes (np.ndarray): Boxes of shape ``(N, 4)`` or RLEs of shape ``(N, )``.

        Returns:
            tuple[np.ndarray, np.ndarray]: uint64, each of shape ``(N, )``.
        """
        true, hidden = np.zeros(len(labels), dtype=np.uint64), np.zeros(len(labels), dtype=np.uint64)
        where = self.ground_truth.annotations_of(img_id)
        dets, gts, ious = (box_pairs(labels, shapes, self.ground_truth.labels[where], self.ground_truth.boxes[where])
                           if self.iou_type == 'bbox' else mask_pairs(labels, shapes, self.ground_truth, img_id))
        if not len(dets):
            return true, hidden
        order = np.lexsort((-gts, -ious, dets))
        reached = [REACHED[n] for n in np.searchsorted(IOU_THRESHOLDS, ious[order], side='right').tolist()]
        counting = self.ground_truth.counting[where].tolist()
        ignored = [ALL_BITS ^ bits for bits in counting]
        countable = self.ground_truth.countable[where].tolist()
        by_det = groupby(zip(dets[order].tolist(), gts[order].tolist(), reached, strict=True), itemgetter(0))
        for det, pairs in ((det, list(pairs)) for det, pairs in by_det):
            rest, won, lost = ALL_BITS, 0, 0
            for _, gt, bits in pairs:
                taken = bits & rest & counting[gt]
                counting[gt] ^= taken
                rest ^= taken
                won |= taken if countable[gt] else 0
            for _, gt, bits in pairs:
                taken = bits & rest & ignored[gt]
                ignored[gt] ^= taken
                rest ^= taken
                lost |= taken
            true[det], hidden[det] = won, lost
        return true, hidden
