"""What is kept of an image's detections after matching: 24 bytes each with float32 scores, some 8 where it is sent."""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .lvis_protocol import ALL_THRESHOLDS, AREAS, FIRST_BITS, NUM_THRESHOLDS


@dataclass(frozen=True, eq=False)
class LVISRecords:
    """The detections of one image that survive the cut and the federated filter, by descending score.

    ``true`` and ``false`` are sets of (area range, IoU threshold), see :mod:`.lvis_protocol`: where the detection is a
    true positive and where a false one. Where it is neither, it is ignored.

    Attributes:
        img_id (Any): The image.
        labels (np.ndarray): Category indices, int32 of shape ``(N, )``.
        scores (np.ndarray): Scores in the dtype given, shape ``(N, )``.
        true (np.ndarray): uint64 of shape ``(N, )``.
        false (np.ndarray): uint64 of shape ``(N, )``.
    """

    img_id: Any
    labels: np.ndarray
    scores: np.ndarray
    true: np.ndarray
    false: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        """int: Bytes of the arrays."""
        return self.labels.nbytes + self.scores.nbytes + self.true.nbytes + self.false.nbytes

    def plain(self) -> tuple[np.ndarray, np.ndarray]:
        """Detections that meet no annotation are false at all thresholds of an area range, or at none.

        Returns:
            tuple[np.ndarray, np.ndarray]: Whether each is so, bool; of ``false`` the bit of each range's first
            threshold, uint64. Both of shape ``(N, )``.
        """
        return plain_bits(self.true, self.false)

    def __reduce__(self) -> tuple[Callable, tuple]:
        """Pickled between processes in a third of the bytes: most detections are plain, see :meth:`plain`."""
        plain, bits = self.plain()
        met = np.flatnonzero(~plain)
        areas = sum(((bits >> np.uint64(NUM_THRESHOLDS * a)) & np.uint64(1)) << np.uint64(a) for a in range(len(AREAS)))
        labels = self.labels.astype(np.min_scalar_type(int(self.labels.max(initial=0))))
        columns = (labels, self.scores, areas.astype(np.uint8), met.astype(np.uint32), self.true[met], self.false[met])
        content = b''.join(column.tobytes() for column in columns)
        return _unpack, (self.img_id, len(self), len(met), labels.dtype.char, self.scores.dtype.char, content)


def plain_bits(true: np.ndarray, false: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:meth:`LVISRecords.plain` of the records' ``true`` and ``false``, of many images too."""
    bits = false & np.uint64(FIRST_BITS)
    return (true == 0) & (false == bits * np.uint64(ALL_THRESHOLDS)), bits


def _unpack(img_id: Any, number: int, met_number: int, label_type: str, score_type: str, content: bytes) -> LVISRecords:
    columns, start = [], 0
    for kind, length in ((label_type, number), (score_type, number), (np.uint8, number), (np.uint32, met_number),
                         (np.uint64, met_number), (np.uint64, met_number)):
        columns.append(np.frombuffer(content, kind, length, start))
        start += columns[-1].nbytes
    labels, scores, areas, met, met_true, met_false = columns
    true, false = np.zeros(number, dtype=np.uint64), np.zeros(number, dtype=np.uint64)
    for area in range(len(AREAS)):
        false |= ((areas >> area) & 1).astype(np.uint64) * np.uint64(ALL_THRESHOLDS << (NUM_THRESHOLDS * area))
    true[met], false[met] = met_true, met_false
    return LVISRecords(img_id, labels.astype(np.int32), scores, true, false)
