"""The predictions of one image, read from a data sample and checked."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch


class LVISDetections:
    """What a detector predicts on one image.

    Args:
        sample (Mapping): A data sample of mmdet as a dict: ``img_id`` and ``pred_instances`` with ``bboxes`` (x1, y1,
            x2, y2 in pixels of the original image, ``(N, 4)``), ``scores`` ``(N, )``, ``labels`` ``(N, )``, and, for
            masks, ``masks`` (tensor or array ``(N, H, W)`` of bool; a list of N RLE, whose ``counts`` are bytes, a
            string or a list; or what has a method ``rles``, as ``BoxMasks``) and perhaps ``mask_scores`` ``(N, )``. N
            may be 0.
        num_classes (int): Number of categories K.

    Raises:
        KeyError: If a key is missing.
        ValueError: If lengths differ, a label is outside of the categories, or a number is not finite.
    """

    def __init__(self, sample: Mapping[str, Any], num_classes: int) -> None:
        for key in ('img_id', 'pred_instances'):
            if key not in sample:
                raise KeyError(f'StreamingLVISMetric needs {key!r} in each data sample, got {sorted(sample)}. Check '
                               'meta_keys of PackDetInputs in the test pipeline.')
        self.img_id = sample['img_id']
        self._instances = sample['pred_instances']
        boxes = self._read('bboxes').double()
        self.labels: np.ndarray = self._read('labels').long().numpy()
        self._scores = self._read('scores').float().numpy()
        if not len(boxes) == len(self.labels) == len(self._scores):
            raise ValueError(f'{self._image} has {len(boxes)} boxes, {len(self.labels)} labels and {len(self._scores)} '
                             'scores.')
        boxes = boxes.reshape(-1, 4)
        self.boxes: np.ndarray = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1).numpy()
        outside = (self.labels < 0) | (self.labels >= num_classes)
        if outside.any():
            raise ValueError(f'{self._image} has a prediction of label {self.labels[outside][0]}, outside of the '
                             f'{num_classes} categories of the annotation file (0 … {num_classes - 1}). Check '
                             "num_classes of the model's heads and ann_file of the evaluator.")
        self._check_finite('box', boxes.numpy())
        self._check_finite('score', self._scores)

    @property
    def _image(self) -> str:
        return f'image {self.img_id!r}'

    def _read(self, key: str) -> torch.Tensor:
        if key not in self._instances:
            raise KeyError(f'StreamingLVISMetric needs {key!r} in pred_instances, got '
                           f'{sorted(self._instances.keys())}. It evaluates detectors.')
        return torch.as_tensor(self._instances[key]).detach().cpu()

    def _check_finite(self, name: str, values: np.ndarray) -> None:
        wrong = np.unique(np.nonzero(~np.isfinite(values))[0])
        if len(wrong):
            raise ValueError(f'{self._image} has a predicted {name} that is not finite, {values[wrong[0]].tolist()} '
                             f'of detection {wrong[0]}; {len(wrong)} of {len(values)} are. Did the model diverge? '
                             'Check the checkpoint, and optim_wrapper of its training (lr, loss_scale); '
                             'FiniteLossHook stops a training at the first such loss.')

    def scores(self, iou_type: str) -> np.ndarray:
        """Scores of boxes or masks; masks have their own if the detector predicts ``mask_scores``. Shape ``(N, )``.

        Raises:
            ValueError: If ``mask_scores`` are of another number, or not finite.
        """
        if iou_type != 'segm' or 'mask_scores' not in self._instances:
            return self._scores
        scores = self._read('mask_scores').float().numpy()
        if scores.shape != self._scores.shape:
            raise ValueError(f'{self._image} has mask_scores of shape {scores.shape} for {len(self._scores)} scores.')
        self._check_finite('mask score', scores)
        return scores

    def rles(self, indices: np.ndarray, size: tuple[int, int]) -> list[dict]:
        """Masks as compressed RLE; only those asked for are encoded.

        Args:
            indices (np.ndarray): Which detections, shape ``(n, )``.
            size (tuple[int, int]): Height and width of the image.

        Returns:
            list[dict]: n RLEs with ``size`` and ``counts``.

        Raises:
            ValueError: If there are no masks, of another number, another size or not binary.
        """
        masks = self._instances['masks'] if 'masks' in self._instances else None
        if masks is None:
            raise ValueError(f"{self._image}: metric='segm' of StreamingLVISMetric needs masks, but pred_instances has "
                             f"only {sorted(self._instances.keys())}. Evaluate a detector with a mask head, or set "
                             "metric='bbox'.")
        if len(masks) != len(self.labels):
            raise ValueError(f'{self._image} has {len(masks)} masks for {len(self.labels)} labels.')
        if hasattr(masks, 'rles'):  # BoxMasks: only those asked for are pasted
            sizes, rles = {tuple(masks.shape[1:])}, masks.rles(indices)
        elif isinstance(masks, Sequence):
            rles = [self._rle(masks[index]) for index in indices]
            sizes = {tuple(rle['size']) for rle in rles}
        else:
            dense = torch.as_tensor(masks)
            sizes = {tuple(dense.shape[1:])} if len(dense) else set()
            rles = _encode(dense, indices, self._image)
        wrong = sizes - {tuple(size)}
        if wrong:
            raise ValueError(f'{self._image}: predicted masks have height and width {wrong.pop()}, but the annotation '
                             f'file says {tuple(size)}. Masks must be in the original image: check the meta key '
                             '`ori_shape` of the test pipeline, and that the images belong to the file.')
        return rles

    def _rle(self, rle: Any) -> dict:
        if not isinstance(rle, dict) or 'size' not in rle or 'counts' not in rle:
            raise ValueError(f'{self._image}: predicted masks are a list of {type(rle).__name__}; it must be one of '
                             "RLE, dict(size=[height, width], counts=…), or masks one tensor (N, height, width) of "
                             'bool.')
        if isinstance(rle['counts'], (bytes, str)):
            return rle
        from pycocotools import mask
        return mask.frPyObjects(rle, *rle['size'])


def _encode(masks: torch.Tensor, indices: np.ndarray, image: str) -> list[dict]:
    if not len(indices):
        return []
    from pycocotools import mask
    masks = masks.detach()[torch.as_tensor(indices, device=masks.device)]
    if masks.dtype != torch.bool:
        if not ((masks == 0) | (masks == 1)).all():
            raise ValueError(f'{image}: predicted masks are not binary (dtype {masks.dtype}). Set model.test_cfg.rcnn.'
                             'mask_thr_binary to a threshold such as 0.5.')
        masks = masks.bool()
    # (n, W, H) in C order is (H, W, n) in Fortran order, as the encoder reads it
    columns = masks.transpose(1, 2).contiguous().view(torch.uint8).cpu().numpy()
    return mask.encode(columns.transpose(2, 1, 0))
