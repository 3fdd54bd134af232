"""Predictors with an affine map of their logits behind them, at test only."""
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from .rectified_predictor import build_linear_predictor


class LogitAffine(nn.Module):
    """``scale * logits + shift`` of each class in evaluation mode; in training the logits pass as they are.

    The buffers ``scale`` and ``shift`` start as the identity and are meant to be loaded
    (``tools/model_converters/posthoc_checkpoint.py`` writes them).

    Args:
        num_features (int): Number of logits C.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer('scale', torch.ones(num_features))
        self.register_buffer('shift', torch.zeros(num_features))

    def forward(self, logits: Tensor) -> Tensor:
        """Calibrated logits, shape ``(N, C)``, dtype of ``logits``."""
        if self.training:
            return logits
        return (logits * self.scale + self.shift).to(logits.dtype)

    def extra_repr(self) -> str:
        """Number of logits for ``print``."""
        return str(len(self.scale))


def _calibrate(predictor: nn.Module, inputs: tuple, logits: Tensor) -> Tensor:
    """Forward hook of a calibrated predictor (a module-level function, so that the predictor can be pickled)."""
    return predictor.logit_affine(logits)


@MODELS.register_module()
def CalibratedPredictor(predictor: dict[str, Any], **kwargs: Any) -> nn.Module:
    """Build a predictor and attach :class:`LogitAffine` to its output, for what a linear layer can't take in.

    Post-hoc calibration of a linear classifier is folded into its weight and bias; a normalised classifier keeps its
    keys and gets this child. As mmdet's ``bbox_head.cls_predictor_cfg``::

        cls_predictor_cfg=dict(type='CalibratedPredictor', predictor=dict(type='NormedLinear', tempearture=20))

    Args:
        predictor (dict): Config of a predictor that is not linear in its input, with logit rectification or without.
        **kwargs: Arguments that heads fill in, ``in_features`` and ``out_features`` among them.

    Returns:
        nn.Module: The predictor, with the child ``logit_affine``.

    Raises:
        TypeError: If ``predictor`` is no config, or ``out_features`` is missing.
        ValueError: If the predictor is linear, so that the map belongs into its weight and bias.
    """
    if not isinstance(predictor, dict) or 'type' not in predictor:
        raise TypeError(f'CalibratedPredictor: predictor={predictor!r} must be the config of a predictor.')
    if 'out_features' not in kwargs:
        raise TypeError(f'CalibratedPredictor needs out_features, the number of logits; got {sorted(kwargs)}.')
    module = build_linear_predictor(dict(predictor, **kwargs))
    if hasattr(module, 'as_linear') or (isinstance(module, nn.Linear) and type(module).__name__ == 'Linear'):
        raise ValueError(f'CalibratedPredictor: predictor={predictor!r} is linear; the calibration belongs into its '
                         'weight and bias, as tools/model_converters/posthoc_checkpoint.py writes it. Use '
                         "type='Linear'.")
    module.logit_affine = LogitAffine(kwargs['out_features'])
    module.register_forward_hook(_calibrate)
    return module
