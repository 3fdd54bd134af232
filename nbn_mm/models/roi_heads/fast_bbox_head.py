"""Box heads that decode and suppress only as many candidates as their result needs."""
from typing import Any

import torch
from mmdet.models.roi_heads import BBoxHead, ConvFCBBoxHead, Shared2FCBBoxHead, Shared4Conv1FCBBoxHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor, scale_boxes
from mmengine.structures import InstanceData
from torch import Tensor

from ..layers.candidate_nms import candidate_nms
from ..layers.nms_options import NMSOptions


class CandidateNMSMixin:
    """At test: candidates cut by score, then decoded, then NMS within classes (:func:`candidate_nms`).

    For heads of mmdet with boxes of four numbers. Training, state-dict keys and the raw results without
    ``rcnn_test_cfg`` (test-time augmentation) are the host's. Detections are those of NMS class by class over all
    candidates; mmdet's differ by the rounding of its class offsets.

    Raises:
        ValueError: If the box coder has other than four numbers a box.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.bbox_coder.encode_size != 4:
            raise ValueError(f'{type(self).__name__}: bbox_coder={type(self.bbox_coder).__name__} has '
                             f'{self.bbox_coder.encode_size} numbers a box; candidates are cut for upright boxes (4) '
                             "only. Use the host's own bbox_head.type.")

    def _predict_by_feat_single(self,
                                roi: Tensor,
                                cls_score: Tensor,
                                bbox_pred: Tensor | None,
                                img_meta: dict,
                                rescale: bool = False,
                                rcnn_test_cfg: Any = None) -> InstanceData:
        """Detections of one image; arguments as in mmdet's ``BBoxHead``.

        Args:
            roi (Tensor): Proposals, shape ``(R, 5)``, image index first.
            cls_score (Tensor): Logits, shape ``(R, C + 1)`` or what the loss wants.
            bbox_pred (Tensor, optional): Deltas, shape ``(R, 4)`` or ``(R, 4 * C)``.
            img_meta (dict): ``img_shape``, and ``scale_factor`` for ``rescale``.
            rescale (bool): Boxes in the original image. Defaults to False.
            rcnn_test_cfg (ConfigDict, optional): ``score_thr``, ``nms``, ``max_per_img``. None: raw results.

        Returns:
            InstanceData: ``bboxes (n, 4)``, ``scores (n, )``, ``labels (n, )``.

        Raises:
            ValueError: If a score is NaN, or ``nms`` is not of a kind that can be cut.
            RuntimeError: In an export to ONNX.
        """
        if rcnn_test_cfg is None or len(roi) == 0:
            return super()._predict_by_feat_single(roi, cls_score, bbox_pred, img_meta, rescale, rcnn_test_cfg)
        if torch.onnx.is_in_onnx_export():
            raise RuntimeError(f'{type(self).__name__} decides from the scores how many candidates it takes, which a '
                               "traced graph can't. Export with the host's own head: bbox_head.type without 'Fast'.")
        shared = bbox_pred is None or self.reg_class_agnostic
        # raw scores, and raw boxes where all classes have the same
        raw = super()._predict_by_feat_single(roi, cls_score, bbox_pred if shared else None, img_meta,
                                              rescale and shared, None)

        def decode(rows: Tensor, labels: Tensor) -> Tensor:
            if shared:
                return raw.bboxes[rows]
            deltas = bbox_pred.view(len(roi), self.num_classes, 4)[rows, labels]
            boxes = self.bbox_coder.decode(roi[rows, 1:], deltas, max_shape=img_meta['img_shape'])
            if rescale and len(rows):
                boxes = scale_boxes(boxes, [1 / s for s in img_meta['scale_factor']])
            return get_box_tensor(boxes)

        try:
            found = candidate_nms(raw.scores, decode, rcnn_test_cfg.score_thr, NMSOptions.from_cfg(rcnn_test_cfg.nms),
                                  rcnn_test_cfg.max_per_img)
        except ValueError as error:
            raise ValueError(f'{type(self).__name__}, image {img_meta.get("img_path", img_meta.get("img_id"))!r}: '
                             f'{error}') from None
        return InstanceData(bboxes=found.boxes, scores=found.scores, labels=found.labels)


@MODELS.register_module()
class FastBBoxHead(CandidateNMSMixin, BBoxHead):
    """mmdet's ``BBoxHead`` with :class:`CandidateNMSMixin`."""


@MODELS.register_module()
class FastConvFCBBoxHead(CandidateNMSMixin, ConvFCBBoxHead):
    """mmdet's ``ConvFCBBoxHead`` with :class:`CandidateNMSMixin`."""


@MODELS.register_module()
class FastShared2FCBBoxHead(CandidateNMSMixin, Shared2FCBBoxHead):
    """mmdet's ``Shared2FCBBoxHead`` with :class:`CandidateNMSMixin`."""


@MODELS.register_module()
class FastShared4Conv1FCBBoxHead(CandidateNMSMixin, Shared4Conv1FCBBoxHead):
    """mmdet's ``Shared4Conv1FCBBoxHead`` with :class:`CandidateNMSMixin`."""
