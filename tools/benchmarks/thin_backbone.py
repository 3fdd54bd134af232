"""A network of almost nothing, for what a training costs beside its network."""
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ThinBackbone(nn.Module):
    """64 linear functions of the mean colour of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Features of shape ``(N, 64, 1, 1)`` of images ``(N, 3, H, W)``."""
        return ((images.mean((2, 3)) @ self.weight.t())[..., None, None], )
