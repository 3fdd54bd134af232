"""Ground-truth segmentations in little memory, turned into run-length encodings (RLE) when an image is matched."""
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...datasets.packed_polygons import hundredths

Rle = dict[str, Any]
PackedSegmentation = tuple[array, ...] | Rle | None


def pack_segmentation(segmentation: Any) -> PackedSegmentation:
    """One annotation's ``segmentation`` in less memory than Python lists.

    Args:
        segmentation (Any): List of polygons, RLE with ``counts`` as list or string, or None.

    Returns:
        tuple[array.array] | dict | None: The coordinates of each polygon in float64; a compressed RLE; None if there is
        none.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        if isinstance(segmentation['counts'], list):
            from pycocotools import mask
            return mask.frPyObjects(segmentation, *segmentation['size'])
        return segmentation
    return tuple(array('d', polygon) for polygon in segmentation)


class PackedSegmentations:
    """The segmentations of many annotations: coordinates in one array, hundredths where that is exact.

    The files of LVIS write two decimals, so that a coordinate takes 2 or 4 bytes, not the 32 of a Python float.

    Args:
        segmentations (Iterable): What :func:`pack_segmentation` gives, in order.
    """

    def __init__(self, segmentations: Iterable[PackedSegmentation]) -> None:
        coordinates, part_ends, parts, rles = array('d'), array('q', [0]), array('q', [0]), {}
        for index, segmentation in enumerate(segmentations):
            if isinstance(segmentation, dict):
                rles[index] = segmentation
            else:
                for polygon in segmentation or ():
                    coordinates.extend(polygon)
                    part_ends.append(len(coordinates))
            parts.append(len(part_ends) - 1)
        self._rles = rles
        self._parts = np.array(parts, dtype=np.int64)
        self._part_ends = np.array(part_ends, dtype=np.int64)
        self._coordinates = hundredths(np.frombuffer(coordinates, dtype=np.float64) if coordinates else np.empty(0))

    def __len__(self) -> int:
        return len(self._parts) - 1

    @property
    def nbytes(self) -> int:
        """int: Bytes of the arrays, without the RLEs that the file itself holds."""
        return self._parts.nbytes + self._part_ends.nbytes + self._coordinates.nbytes

    def polygons(self, index: int) -> list[list[float]]:
        """The polygons of an annotation, as the file has them."""
        values = self._coordinates
        parts = []
        for part in range(self._parts[index], self._parts[index + 1]):
            polygon = values[self._part_ends[part]:self._part_ends[part + 1]]
            parts.append((polygon if values.dtype == np.float64 else polygon / 100.0).tolist())
        return parts

    def rles(self, indices: Sequence[int], size: tuple[int, int]) -> list[Rle]:
        """Compressed RLEs of annotations of one image.

        Args:
            indices (Sequence[int]): Which annotations.
            size (tuple[int, int]): Height and width of the image.

        Returns:
            list[dict]: RLEs with ``size`` and ``counts``.

        Raises:
            ValueError: If an annotation has no segmentation.
        """
        from pycocotools import mask
        result = []
        for index in indices:
            rle = self._rles.get(index)
            if rle is None:
                polygons = self.polygons(index)
                if not polygons:
                    raise ValueError('an annotation has no segmentation: masks cannot be evaluated. Complete the '
                                     "annotation file, or evaluate boxes only (metric='bbox').")
                parts = mask.frPyObjects(polygons, *size)
                rle = parts[0] if len(parts) == 1 else mask.merge(parts)
            result.append(rle)
        return result
