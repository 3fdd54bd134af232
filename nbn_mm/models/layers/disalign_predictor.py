"""DisAlign: a linear classifier whose logits are calibrated image by image.

Zhang et al., Distribution Alignment: A Unified Framework for Long-Tail Visual Recognition, CVPR 2021, arXiv:2103.16370,
adaptive calibration: each class has a scale and a shift, and a confidence of the image says how far they apply.

Ours: the calibration starts as the exact identity (``alpha = 1``, ``beta = 0``, confidence 1/2), so that a network with
it equals the linear one until it is trained. The released code starts at ``alpha = 2`` with all weights of the
confidence at 0.1.
"""
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


def disalign_logits(logits: Tensor, confidence: Tensor, scale_offset: Tensor, shift: Tensor) -> Tensor:
    r""":math:`\sigma (\alpha z + \beta) + (1 - \sigma) z`, computed as :math:`z + \sigma ((\alpha - 1) z + \beta)`.

    Args:
        logits (Tensor): :math:`z`, shape ``(N, C)``.
        confidence (Tensor): :math:`\sigma`, in (0, 1), shape ``(N, 1)``.
        scale_offset (Tensor): :math:`\alpha - 1`, shape ``(C, )``.
        shift (Tensor): :math:`\beta`, shape ``(C, )``.

    Returns:
        Tensor: Calibrated logits, shape ``(N, C)``; exactly ``logits`` if offset and shift are 0.
    """
    return logits + confidence * (scale_offset * logits + shift)


@MODELS.register_module()
class DisAlignPredictor(nn.Linear):
    r"""A linear classifier with DisAlign's calibration behind it.

    The keys ``weight`` and ``bias`` are those of a linear classifier, whose checkpoint therefore loads. New are
    ``scale_offset`` (:math:`\alpha - 1`), ``shift`` (:math:`\beta`), ``confidence_weight`` and ``confidence_bias``
    (:math:`\sigma(x) = \mathrm{sigmoid}(v \cdot x + b)`). In stage 2 only these four learn::

        head=dict(predictor=dict(type='DisAlignPredictor'), loss=dict(type='GeneralizedReweightLoss', rho=1.2))

    Weight decay draws :math:`\alpha` towards 1 and :math:`\beta` towards 0, that is, towards no calibration, as in the
    released code, which stores :math:`\alpha - 1` as well.

    Args:
        in_features (int): Channels D of the features.
        out_features (int): Classes C.
        bias (bool): Whether the linear classifier has a bias. Defaults to True.
    """
    # Why `RectifiedPredictor` must not stand over it.
    refuses_rectification = ('standardising the calibrated logits of each class takes out what its scale and shift put '
                             'in. DisAlign goes without logit rectification')
    CALIBRATION = ('scale_offset', 'shift', 'confidence_weight', 'confidence_bias')

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.scale_offset = nn.Parameter(torch.zeros(out_features))
        self.shift = nn.Parameter(torch.zeros(out_features))
        self.confidence_weight = nn.Parameter(torch.zeros(1, in_features))
        self.confidence_bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Calibrated logits.

        Args:
            x (Tensor): Features, shape ``(N, D)``.

        Returns:
            Tensor: Shape ``(N, C)``.
        """
        confidence = F.linear(x, self.confidence_weight, self.confidence_bias).sigmoid()
        return disalign_logits(super().forward(x), confidence, self.scale_offset, self.shift)
