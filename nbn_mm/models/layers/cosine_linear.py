"""The cosine classifier: the logit of a class is the scaled cosine between its weight vector and the features.

Gidaris and Komodakis, Dynamic Few-Shot Visual Learning without Forgetting, CVPR 2018, arXiv:1804.09458, section 3.2;
the classifier of LDAM (Cao et al., NeurIPS 2019) and of RIDE.
"""
import math

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class CosineLinear(nn.Module):
    """A linear predictor of unit vectors without a bias: ``scale · cos(x, w_j)``, in at least float32.

    As ``head.predictor``. Losses with margins in units of the cosine (``LDAMLoss``, ``GaussianCloudedLogitLoss``) have
    an option ``scale``, too, which must be equal.

    Args:
        in_features (int): Channels D of the features.
        out_features (int): Number of classes C.
        scale (float): Factor of the cosine, above 0. Defaults to 1.0.
        learn_scale (bool): Whether the factor is a parameter, ``scale``. Defaults to False.
        eps (float): Lower bound of a norm. Defaults to 1e-12.

    Raises:
        ValueError: If ``scale`` is not positive and finite.
    """

    def __init__(self, in_features: int, out_features: int, scale: float = 1.0, learn_scale: bool = False,
                 eps: float = 1e-12) -> None:
        super().__init__()
        if not (isinstance(scale, (int, float)) and 0 < scale < math.inf):
            raise ValueError(f'CosineLinear: scale={scale!r} must be a positive number; change `head.predictor.scale`.')
        self.in_features = in_features
        self.out_features = out_features
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        if learn_scale:
            self.scale = nn.Parameter(torch.tensor(float(scale)))
        else:
            self.scale = float(scale)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights as ``nn.Linear`` does; their lengths play no part in the output."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Args:
            x (Tensor): Features, shape ``(N, D)``.

        Returns:
            Tensor: Shape ``(N, C)``; float32, or float64 for float64 features.
        """
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            directions = F.normalize(self.weight.to(dtype), dim=1, eps=self.eps)
            return self.scale * F.linear(F.normalize(x.to(dtype), dim=1, eps=self.eps), directions)

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return f'{self.in_features}, {self.out_features}, scale={float(self.scale):g}'
