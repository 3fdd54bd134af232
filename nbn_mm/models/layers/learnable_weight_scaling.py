"""Learnable weight scaling (LWS).

Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, arXiv:1910.09217, section
4.3: in stage 2 the classifier of stage 1 is kept, and each class learns one factor ``f_j``. As in the released code the
factor multiplies the whole logit, the bias included.
"""
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class LearnableWeightScaling(nn.Linear):
    r"""A linear classifier with a factor for each class: :math:`f_j (w_j \cdot x + b_j)`.

    The keys ``weight`` and ``bias`` are those of a linear classifier, whose checkpoint therefore loads; new is
    ``scales``, all 1 at the start, so that stage 2 begins with the network of stage 1. Only ``scales`` is meant to
    learn; ``StageHook`` freezes the rest::

        head=dict(predictor=dict(type='LearnableWeightScaling'))

    Args:
        in_features (int): Channels D of the features.
        out_features (int): Classes C.
        bias (bool): Whether the linear classifier has a bias. Defaults to True.
    """
    # Why `RectifiedPredictor` must not stand over it.
    refuses_rectification = ('standardising the logits of each class takes out the factor that the class learned. '
                             'Learnable weight scaling goes without logit rectification')

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.scales = nn.Parameter(torch.ones(out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled logits.

        Args:
            x (Tensor): Features, shape ``(N, D)``.

        Returns:
            Tensor: Shape ``(N, C)``.
        """
        return self.scales * super().forward(x)

    @torch.no_grad()
    def as_linear(self) -> nn.Linear:
        """The linear layer that equals it, with the factors in its weight and bias; in evaluation mode."""
        plain = nn.Linear(self.in_features, self.out_features, self.bias is not None).to(self.weight)
        plain.weight.copy_(self.scales[:, None] * self.weight)
        if self.bias is not None:
            plain.bias.copy_(self.scales * self.bias)
        return plain.eval()
