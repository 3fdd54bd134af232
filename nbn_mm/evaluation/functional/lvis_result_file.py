"""Result files of the LVIS evaluation server, written while inference runs.

Each rank appends its images to a part file, one line an image; at the end one process joins them in the order of the
annotation file. Nothing but the image at hand and one position an image is kept in memory.
"""
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .lvis_protocol import MAX_DETS

Path_ = str | PathLike


def result_path(prefix: Path_, iou_type: str) -> Path:
    """The result file, named as the host names it: ``{prefix}.bbox.json`` or ``{prefix}.segm.json``."""
    return Path(f'{prefix}.{iou_type}.json')


def part_path(prefix: Path_, iou_type: str, rank: int) -> Path:
    """The part file of a rank."""
    return Path(f'{prefix}.{iou_type}.part{rank}')


def top_detections(scores: np.ndarray, max_dets: int = MAX_DETS) -> np.ndarray:
    """Indices of the detections that the official package keeps of an image.

    Args:
        scores (np.ndarray): Shape ``(N, )``.
        max_dets (int): Most detections an image. Defaults to 300.

    Returns:
        np.ndarray: All of them in their own order if they are no more, else the best ones, ties in their own order;
        shape ``(min(N, max_dets), )``.
    """
    if len(scores) <= max_dets:
        return np.arange(len(scores))
    return np.argsort(-scores, kind='stable')[:max_dets]


class LVISResultPart:
    """The part file of one rank and one kind of results; it is made, or emptied, with the object.

    Args:
        prefix (str | PathLike): Folder and first part of the result file's name. Folders on the way are made.
        iou_type (str): ``'bbox'`` or ``'segm'``.
        rank (int): Rank of the process. Defaults to 0.
    """

    def __init__(self, prefix: Path_, iou_type: str, rank: int = 0) -> None:
        path = part_path(prefix, iou_type, rank)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._key = 'bbox' if iou_type == 'bbox' else 'segmentation'
        self._file = path.open('w', encoding='utf-8')

    def write(self, img_id: int, category_ids: Sequence[int], scores: np.ndarray, shapes: np.ndarray | Sequence[dict]
              ) -> None:
        """Append the detections of an image.

        Args:
            img_id (int): Id of the image.
            category_ids (Sequence[int]): Ids of the categories, length N.
            scores (np.ndarray): Shape ``(N, )``.
            shapes (np.ndarray | Sequence[dict]): Boxes (x, y, width, height), shape ``(N, 4)``, or N compressed RLE.
        """
        shapes = shapes.tolist() if self._key == 'bbox' else [_as_text(rle) for rle in shapes]
        entries = [dict(zip(('image_id', 'category_id', self._key, 'score'), entry, strict=True))
                   for entry in zip([img_id] * len(shapes), map(int, category_ids), shapes, scores.tolist(),
                                    strict=True)]
        # an image without detections, too: they may replace those of an evaluation that was interrupted
        self._file.write(f'{json.dumps(img_id)}\t{json.dumps(entries)[1:-1]}\n')

    def close(self) -> None:
        """Finish the part."""
        self._file.close()


def _as_text(rle: dict[str, Any]) -> dict[str, Any]:
    counts = rle['counts']
    return dict(size=[int(side) for side in rle['size']],
                counts=counts.decode('ascii') if isinstance(counts, bytes) else counts)


def join_result_parts(prefix: Path_, iou_type: str, num_ranks: int, img_ids: Sequence[int]) -> Path:
    """Join the part files of all ranks to the result file, and remove them.

    An image that stands in several parts, because the sampler padded them to equal lengths, is taken once; one that
    stands twice in a part, because an evaluation was interrupted, as it was written last.

    Args:
        prefix (str | PathLike): As in :class:`LVISResultPart`.
        iou_type (str): ``'bbox'`` or ``'segm'``.
        num_ranks (int): Number of ranks.
        img_ids (Sequence[int]): Ids of all images in the order that is wanted.

    Returns:
        Path: The file, a JSON list with ``image_id``, ``category_id``, ``bbox`` or ``segmentation``, and ``score``.

    Raises:
        FileNotFoundError: If the part of a rank is missing.
    """
    paths = [part_path(prefix, iou_type, rank) for rank in range(num_ranks)]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f'outfile_prefix={str(prefix)!r}: there is no part {str(path)!r}. Give a folder '
                                    'that all ranks share.')
    target = result_path(prefix, iou_type)
    unfinished = target.with_name(target.name + '.unfinished')
    with ExitStack() as stack, unfinished.open('wb') as out:
        files = [stack.enter_context(path.open('rb')) for path in paths]
        places: dict[int, tuple[Any, int]] = {}
        for file in reversed(files):
            position = 0
            for line in file:
                places[json.loads(line[:line.index(b'\t')])] = file, position
                position += len(line)
        start = separator = b'[\n'
        for img_id in img_ids:
            if img_id in places:
                file, position = places[img_id]
                file.seek(position)
                line = file.readline()
                entries = line[line.index(b'\t') + 1:-1]
                if entries:
                    out.write(separator + entries)
                    separator = b',\n'
        out.write(b'[]\n' if separator == start else b'\n]\n')
    os.replace(unfinished, target)
    for path in paths:
        path.unlink()
    return target
