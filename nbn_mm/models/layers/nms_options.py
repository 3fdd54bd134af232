"""The options of mmcv's NMS that a head's ``test_cfg`` holds, checked."""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WHERE = 'model.test_cfg.rcnn.nms'


@dataclass(frozen=True)
class NMSOptions:
    """Options of greedy NMS.

    Args:
        iou_threshold (float, optional): A box goes if its IoU with a better one of its class is above. None: no NMS.
        offset (int): Widths and heights are ``x2 - x1 + offset``; 0 or 1. Defaults to 0.
        score_threshold (float): Candidates must be above. Defaults to 0.
        max_num (int): Most boxes that are kept, -1 for all. Defaults to -1.
        class_agnostic (bool): Whether boxes of different classes suppress each other. Defaults to False.
    """
    iou_threshold: float | None
    offset: int = 0
    score_threshold: float = 0.
    max_num: int = -1
    class_agnostic: bool = False

    @classmethod
    def from_cfg(cls, cfg: Mapping[str, Any] | None) -> 'NMSOptions':
        """Read ``nms`` of a host's ``test_cfg``.

        Args:
            cfg (Mapping, optional): ``type='nms'`` and options of mmcv's ``nms`` and ``batched_nms``; None: no NMS, as
                in mmcv. ``split_thr`` says from how many boxes on mmcv goes class by class; it has no meaning here.

        Returns:
            NMSOptions: The options.

        Raises:
            ValueError: If it is another kind of NMS, an option is unknown, or a value is out of range.
        """
        if cfg is None:
            return cls(None)
        options = dict(cfg)
        kind = options.pop('type', 'nms')
        if kind != 'nms':
            raise ValueError(f"{WHERE}.type={kind!r}: candidates are cut for type='nms' only, since other kinds change "
                             "scores. Set it to 'nms', or use the host's own box head "
                             "(bbox_head.type without 'Fast').")
        options.pop('split_thr', None)
        if 'iou_thr' in options:  # mmcv's old name
            options.setdefault('iou_threshold', options.pop('iou_thr'))
        unknown = sorted(set(options) - set(cls.__dataclass_fields__))
        if unknown or options.get('iou_threshold') is None:
            problem = f'unknown options {unknown}' if unknown else 'no iou_threshold'
            raise ValueError(f'{WHERE}={dict(cfg)} has {problem}. Known are {sorted(cls.__dataclass_fields__)} and '
                             'split_thr.')
        found = cls(**options)
        if not 0 <= found.iou_threshold <= 1:
            raise ValueError(f'{WHERE}.iou_threshold={found.iou_threshold} must be in [0, 1].')
        if found.offset not in (0, 1):
            raise ValueError(f'{WHERE}.offset={found.offset} must be 0 or 1.')
        return found
