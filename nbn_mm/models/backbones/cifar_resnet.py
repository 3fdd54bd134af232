"""ResNet for 32x32 images, with option-A shortcuts.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv:1512.03385, section 4.2: a 3x3 stem, three
stages of n blocks with 16, 32 and 64 channels, depth 6n + 2; where the channels grow, the shortcut takes every second
pixel and pads the new channels with zeros (option A), so that it has no parameters.
"""
from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import build_conv_layer, build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class CIFARBasicBlock(BaseModule):
    """Two 3x3 convolutions and an option-A shortcut.

    Args:
        in_channels (int): Input channels.
        out_channels (int): Output channels.
        stride (int): Stride of the first convolution and of the shortcut. Defaults to 1.
        conv_cfg (dict, optional): Config of the convolutions.
        norm_cfg (dict, optional): Config of the norms. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 stride: int = 1,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = None,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        norm_cfg = dict(type='BN') if norm_cfg is None else norm_cfg
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride
        self.norm1_name, norm1 = build_norm_layer(norm_cfg, out_channels, postfix=1)
        self.norm2_name, norm2 = build_norm_layer(norm_cfg, out_channels, postfix=2)
        self.conv1 = build_conv_layer(conv_cfg, in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.add_module(self.norm1_name, norm1)
        self.conv2 = build_conv_layer(conv_cfg, out_channels, out_channels, 3, padding=1, bias=False)
        self.add_module(self.norm2_name, norm2)
        self.relu = nn.ReLU(inplace=True)

    @property
    def norm1(self) -> nn.Module:
        """nn.Module: Norm after the first convolution."""
        return getattr(self, self.norm1_name)

    @property
    def norm2(self) -> nn.Module:
        """nn.Module: Norm that ends the residual branch."""
        return getattr(self, self.norm2_name)

    def shortcut(self, x: Tensor) -> Tensor:
        """Every ``stride``-th pixel, the new channels zero, half of them before and half after."""
        if self.stride > 1:
            x = x[:, :, ::self.stride, ::self.stride]
        new = self.out_channels - self.in_channels
        return F.pad(x, (0, 0, 0, 0, new // 2, new - new // 2)) if new else x

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', H / stride, W / stride)``."""
        out = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


@MODELS.register_module()
class CIFARResNet(BaseModule):
    """ResNet-20/32/44/56/110 for CIFAR.

    ResNet-32 with a linear layer for 10 classes has 464,154 parameters (published: 0.46 M). The blocks are
    ``layer{1,2,3}.{i}`` with ``conv1``, ``bn1``, ``conv2``, ``bn2``. ``width_multiplier=4`` widens the stem too
    (64 channels, stages 64, 128, 256); the "resnet32x4" of the distillation literature has a stem of 32.

    Args:
        depth (int): ``6n + 2``. Defaults to 32.
        width_multiplier (int): Factor on 16, 32 and 64 channels. Defaults to 1.
        base_channels (int): Channels of the stem and the first stage before that factor; each stage has twice as many
            as the one before. Defaults to 16.
        in_channels (int): Channels of the images. Defaults to 3.
        out_indices (Sequence[int]): Stages to return, counted from 0. Defaults to ``(2, )``.
        frozen_stages (int): -1: none; 0: stem; k: stem and the first k stages. Defaults to -1.
        norm_eval (bool): Whether norms stay in eval mode in training. Defaults to False.
        conv_cfg (dict, optional): Config of the convolutions.
        norm_cfg (dict, optional): Config of the norms. Defaults to ``dict(type='BN', requires_grad=True)``.
        init_cfg (dict | list[dict], optional): Defaults to Kaiming's normal distribution (fan-in) for convolutions.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        depth: int = 32,
        width_multiplier: int = 1,
        base_channels: int = 16,
        in_channels: int = 3,
        out_indices: Sequence[int] = (2, ),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        init_cfg: dict | Sequence[dict] | None = None
    ) -> None:
        if init_cfg is None:
            init_cfg = dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='relu')
        super().__init__(init_cfg=init_cfg)
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f'CIFARResNet: depth={depth} must be 6n + 2 with n >= 1 (8, 14, 20, 32, 44, 56, 110); '
                             'change `backbone.depth`.')
        if not isinstance(width_multiplier, int) or width_multiplier < 1:
            raise ValueError(f'CIFARResNet: width_multiplier={width_multiplier} must be an integer of at least 1; '
                             'change `backbone.width_multiplier`.')
        if not isinstance(base_channels, int) or base_channels < 1:
            raise ValueError(f'CIFARResNet: base_channels={base_channels} must be an integer of at least 1; '
                             'change `backbone.base_channels`.')
        if not out_indices or not set(out_indices) <= {0, 1, 2}:
            raise ValueError(f'CIFARResNet: out_indices={out_indices} must name stages among 0, 1, 2; '
                             'change `backbone.out_indices`.')
        if frozen_stages not in (-1, 0, 1, 2, 3):
            raise ValueError(f'CIFARResNet: frozen_stages={frozen_stages} must be -1, 0, 1, 2 or 3; '
                             'change `backbone.frozen_stages`.')
        self.depth = depth
        self.base_channels = base_channels
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        norm_cfg = dict(type='BN', requires_grad=True) if norm_cfg is None else norm_cfg
        channels = base_channels * width_multiplier
        self.conv1 = build_conv_layer(conv_cfg, in_channels, channels, 3, padding=1, bias=False)
        self.norm1_name, norm1 = build_norm_layer(norm_cfg, channels, postfix=1)
        self.add_module(self.norm1_name, norm1)
        self.relu = nn.ReLU(inplace=True)
        self.res_layers = []
        for stage in range(3):
            width = base_channels * width_multiplier * 2**stage
            blocks = []
            for block in range((depth - 2) // 6):
                stride = 2 if stage and not block else 1
                blocks.append(CIFARBasicBlock(channels, width, stride, conv_cfg, norm_cfg))
                channels = width
            self.res_layers.append(f'layer{stage + 1}')
            self.add_module(self.res_layers[-1], nn.Sequential(*blocks))
        self.feat_dim = channels
        self._freeze_stages()

    @property
    def norm1(self) -> nn.Module:
        """nn.Module: Norm of the stem."""
        return getattr(self, self.norm1_name)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the stages in ``out_indices``.

        Args:
            x (Tensor): Images, shape ``(N, 3, H, W)``.

        Returns:
            tuple[Tensor]: Of stage i, shape ``(N, 16 * width_multiplier * 2**i, H / 2**i, W / 2**i)`` at the
                default ``base_channels``.
        """
        x = self.relu(self.norm1(self.conv1(x)))
        outs = []
        for index, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if index in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def _freeze_stages(self) -> None:
        modules = [self.conv1, self.norm1] if self.frozen_stages >= 0 else []
        modules += [getattr(self, name) for name in self.res_layers[:max(self.frozen_stages, 0)]]
        for module in modules:
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad = False

    def train(self, mode: bool = True) -> 'CIFARResNet':
        """Set the mode; frozen stages, and all norms under ``norm_eval``, stay in eval mode."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
