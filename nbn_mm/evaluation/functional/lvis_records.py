"""What is kept of an image's detections after matching: 24 bytes each with float32 scores."""
from dataclasses import dataclass
from typing import Any

import numpy as np


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
