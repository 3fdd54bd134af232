"""RoI heads that tell their mask heads which class was predicted."""
from contextlib import ExitStack
from typing import Any

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..layers.nms_options import NMSOptions
from .fast_bbox_head import CandidateNMSMixin
from .fast_mask_head import FastFCNMaskHead, mask_format


class PredictedClassMixin:
    """At test, hands the predicted classes to the mask heads; checks ``test_cfg`` when it is built.

    Raises:
        ValueError: If a mask head can't take them, or ``test_cfg`` asks for what the heads can't do.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for head in self._mask_heads():
            if not isinstance(head, FastFCNMaskHead):
                raise ValueError(f'{type(self).__name__}: mask_head.type={type(head).__name__!r} takes no classes. Use '
                                 "'FastFCNMaskHead', or the host's own roi_head.type.")
        if self.test_cfg is not None:
            if self.with_mask:
                mask_format(self.test_cfg)
            last = self.bbox_head[-1] if isinstance(self.bbox_head, nn.ModuleList) else self.bbox_head
            if isinstance(last, CandidateNMSMixin):
                NMSOptions.from_cfg(self.test_cfg.nms)

    def _mask_heads(self) -> list[nn.Module]:
        if not self.with_mask:
            return []
        return list(self.mask_head) if isinstance(self.mask_head, nn.ModuleList) else [self.mask_head]

    def predict_mask(self, x: tuple[Tensor], batch_img_metas: list[dict], results_list: list[InstanceData],
                     rescale: bool = False) -> list[InstanceData]:
        """Masks of detections; arguments as in mmdet's RoI heads."""
        labels = torch.cat([results.labels for results in results_list])
        with ExitStack() as stack:
            for head in self._mask_heads():
                stack.enter_context(head.predicting(labels))
            return super().predict_mask(x, batch_img_metas, results_list, rescale)


@MODELS.register_module()
class FastStandardRoIHead(PredictedClassMixin, StandardRoIHead):
    """mmdet's ``StandardRoIHead`` with :class:`PredictedClassMixin`."""


@MODELS.register_module()
class FastCascadeRoIHead(PredictedClassMixin, CascadeRoIHead):
    """mmdet's ``CascadeRoIHead`` with :class:`PredictedClassMixin`."""
