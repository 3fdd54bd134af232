"""A mask head that computes the logits of the predicted class alone and pastes masks within their boxes."""
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.models.roi_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor

from ..layers.box_masks import BoxMasks
from ..layers.predicted_class_conv import check_one_by_one, one_output_each

MASK_FORMATS = ('bitmap', 'box', 'rle')


def mask_format(test_cfg: Any) -> str:
    """``mask_format`` of ``model.test_cfg.rcnn``, checked.

    Raises:
        ValueError: If it is unknown, or does not go with ``mask_thr_binary``.
    """
    found = test_cfg.get('mask_format', 'bitmap')
    if found not in MASK_FORMATS:
        raise ValueError(f'model.test_cfg.rcnn.mask_format={found!r} must be one of {MASK_FORMATS}.')
    threshold = test_cfg.get('mask_thr_binary')
    if found != 'bitmap' and not (threshold is not None and 0 < threshold <= 1):
        raise ValueError(f'model.test_cfg.rcnn.mask_thr_binary={threshold} must be in (0, 1] with mask_format='
                         f"{found!r}. Set it, or mask_format='bitmap', the host's.")
    return found


@MODELS.register_module()
class FastFCNMaskHead(FCNMaskHead):
    """mmdet's ``FCNMaskHead``; at test only the predicted class's logits are computed, and masks stay within boxes.

    The RoI head must be :class:`FastStandardRoIHead` or :class:`FastCascadeRoIHead`: others can't say which class was
    predicted, and all classes' logits are computed then (a warning says so once). Training and state-dict keys are the
    host's. ``model.test_cfg.rcnn.mask_format`` chooses what ``masks`` of the predictions is:

    - ``'bitmap'`` (default): the host's tensor of bool, ``(N, H, W)``;
    - ``'box'``: :class:`BoxMasks`, pasted and encoded when read, for what reads arrays or asks for RLEs;
    - ``'rle'``: list of compressed RLEs, which mmdet's ``CocoMetric`` takes.

    Raises:
        ValueError: If the predictor is no 1x1 convolution.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_one_by_one(self.conv_logits, 'mask_head.predictor_cfg')
        self._labels: Tensor | None = None
        self._warned = False

    @contextmanager
    def predicting(self, labels: Tensor) -> Iterator[None]:
        """Within this context ``forward`` gives the logits of these classes only.

        Args:
            labels (Tensor): Class of each RoI, shape ``(N, )``.
        """
        self._labels = labels
        try:
            yield
        finally:
            self._labels = None

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Args:
            x (Tensor): RoI features, shape ``(N, C_in, h, w)``.

        Returns:
            Tensor: Shape ``(N, C, 2h, 2w)``; ``(N, 1, 2h, 2w)`` within :meth:`predicting`, or class-agnostic.
        """
        if self._labels is None or self.class_agnostic:
            return super().forward(x)
        with one_output_each(self.conv_logits, self._labels):
            return super().forward(x)

    def _predict_by_feat_single(self,
                                mask_preds: Tensor,
                                bboxes: Tensor,
                                labels: Tensor,
                                img_meta: dict,
                                rcnn_test_cfg: Any,
                                rescale: bool = False,
                                activate_map: bool = False) -> Any:
        """Masks of one image; arguments as in mmdet's ``FCNMaskHead``, logits also ``(n, 1, h, w)``.

        Returns:
            Tensor | BoxMasks | list[dict]: See the class.
        """
        kind = mask_format(rcnn_test_cfg)
        if not self.class_agnostic and mask_preds.size(1) != 1:
            if not self._warned:
                self._warned = True
                print_log(f'FastFCNMaskHead computed the logits of all {mask_preds.size(1)} classes, as its RoI head '
                          "does not say which are wanted. Set model.roi_head.type='FastStandardRoIHead' (or "
                          "'FastCascadeRoIHead').", logger='current', level=logging.WARNING)
            mask_preds = mask_preds[torch.arange(len(labels), device=labels.device), labels][:, None]
        if kind == 'bitmap':
            return super()._predict_by_feat_single(mask_preds, bboxes, torch.zeros_like(labels), img_meta,
                                                   rcnn_test_cfg, rescale, activate_map)
        maps = mask_preds if activate_map else mask_preds.sigmoid()
        height, width = img_meta['ori_shape'][:2]
        if rescale:
            bboxes /= bboxes.new_tensor(img_meta['scale_factor']).repeat((1, 2))  # in place, as the host does
        else:
            scale = bboxes.new_tensor(img_meta['scale_factor'])
            width, height = (int(round(side * scale[axis].item())) for axis, side in enumerate((width, height)))
        masks = BoxMasks(maps, bboxes, (height, width), rcnn_test_cfg.mask_thr_binary)
        return masks if kind == 'box' else masks.rles()
