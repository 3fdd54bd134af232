"""Several experts on one stem: the first stages of a network are shared, its last ones exist once an expert.

Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts (RIDE), ICLR 2021, arXiv:2010.01809,
section 3.1: the early layers are shared, the later ones are independent and have fewer channels.
"""
from typing import Any

from mmengine.model import BaseModule, ModuleList
from mmengine.registry import MODELS
from torch import Tensor, nn

from .build_base import build_network

# RIDE: three quarters of the channels (24 and 48 for 32 and 64, 192 and 384 for 256 and 512), in the groups as well.
REDUCTION = (3, 4)
REDUCED_OPTIONS = ('base_channels', 'width_per_group')
SHORTCUTS = ('downsample', 'shortcut')


@MODELS.register_module()
class MultiExpertBackbone(BaseModule):
    """A residual network of the host whose last stages exist once an expert.

    .. code-block:: python

        backbone=dict(type='MultiExpertBackbone', network='CIFARResNet', depth=32, num_experts=3, reduce_dimension=True)

    The host's network is built once for the shared stages and once an expert; from each are taken away the stages that
    it does not need, so that building, forward and initialisation are the host's. State-dict keys: those of the network
    behind ``shared.`` and ``experts.{k}.``, such as ``experts.0.layer3.0.conv1.weight``.

    Its ``res_layers`` tell NBN the stages: one of the experts is the same stage of all of them.

    Args:
        network (str | type): The network: ``'ResNet'``, ``'ResNeXt'``, ``'CIFARResNet'``, … It must have ``res_layers``
            and ``out_indices``, as the hosts' residual networks have.
        num_experts (int): Number of experts. Defaults to 3.
        own_stages (int): How many of the last stages each expert has for itself. Defaults to 2.
        reduce_dimension (bool): Whether the experts' stages have three quarters of the channels, so that the head gets
            ``3 / 4 * in_channels``. Defaults to False.
        **kwargs: Forwarded to ``network``. Pretrained weights (``init_cfg``) go into the shared stages and every
            expert alike.

    Raises:
        ValueError: If an option is out of its range, or the network does not have what an option needs.
        KeyError: If no registry knows ``network``.
    """

    def __init__(self, network: str | type, num_experts: int = 3, own_stages: int = 2, reduce_dimension: bool = False,
                 **kwargs: Any) -> None:
        super().__init__()
        if type(num_experts) is not int or num_experts < 1:
            raise ValueError(f'backbone.num_experts={num_experts!r} must be an integer of at least 1.')
        init_cfg = kwargs.get('init_cfg')
        if reduce_dimension and isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained':
            raise ValueError("backbone.reduce_dimension=True does not go with backbone.init_cfg=dict(type='Pretrained')"
                             ': the weights do not fit experts of fewer channels. Remove one of the two.')
        self.num_experts = num_experts
        self.own_stages = own_stages
        self.shared = _build(network, kwargs)
        stages = list(self.shared.res_layers)
        if type(own_stages) is not int or not 1 <= own_stages < len(stages):
            raise ValueError(f'backbone.own_stages={own_stages!r} must be an integer from 1 to {len(stages) - 1}: '
                             f'{network!r} has {len(stages)} stages, of which at least one is shared.')
        frozen, border = getattr(self.shared, 'frozen_stages', -1), len(stages) - own_stages
        if frozen > border:
            raise ValueError(f'backbone.frozen_stages={frozen} must be at most {border}, the number of shared stages.')
        channels = _input_channels(getattr(self.shared, stages[border])[0])
        options = _reduced(self.shared, kwargs) if reduce_dimension else kwargs
        experts = [_build(network, options) for _ in range(num_experts)]
        for expert in experts:
            _keep_stages(expert, border, len(stages))
            _widen_input(getattr(expert, stages[border])[0], channels)
        _keep_stages(self.shared, 0, border)
        self.experts = ModuleList(experts)
        self.res_layers = [(f'shared.{name}', ) for name in stages[:border]]
        self.res_layers += [tuple(f'experts.{k}.{name}' for k in range(num_experts)) for name in stages[border:]]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the experts.

        Args:
            x (Tensor): Images, shape ``(N, 3, H, W)``.

        Returns:
            tuple[Tensor]: One map an expert, shape ``(N, C, H', W')``.
        """
        shared = self.forward_shared(x)
        return tuple(self.forward_expert(shared, k) for k in range(self.num_experts))

    def forward_shared(self, x: Tensor) -> Tensor:
        """The map that all experts take, of images ``(N, 3, H, W)``."""
        return self.shared(x)[-1]

    def forward_expert(self, shared: Tensor, expert: int) -> Tensor:
        """The map of one expert.

        Args:
            shared (Tensor): What :meth:`forward_shared` gave, or some of its rows.
            expert (int): Number of the expert, from 0.
        """
        return self.experts[expert](shared)[-1]


def _build(network: str | type, options: dict[str, Any]) -> nn.Module:
    built = build_network(network, 'backbone.network', options)
    names = getattr(built, 'res_layers', None)
    if not isinstance(names, (list, tuple)) or len(names) < 2 or not hasattr(built, 'out_indices'):
        raise ValueError(f'backbone.network={network!r} builds a {type(built).__name__} without residual stages '
                         '(`res_layers`, at least two, and `out_indices`), which cannot be divided among experts. Take '
                         "a residual network such as 'ResNet', 'ResNeXt' or 'CIFARResNet'.")
    return built


def _reduced(network: nn.Module, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a network whose stages have three quarters of the channels."""
    if not hasattr(network, 'base_channels'):
        raise ValueError(f'backbone.reduce_dimension=True needs a network with `base_channels`, which '
                         f'{type(network).__name__} lacks.')
    reduced = dict(options)
    for name in REDUCED_OPTIONS:
        width = getattr(network, name, None)
        if width is None:
            continue
        if width * REDUCTION[0] % REDUCTION[1]:
            raise ValueError(f'backbone.reduce_dimension=True takes three quarters of backbone.{name}={width}, which '
                             'must be divisible by 4.')
        reduced[name] = width * REDUCTION[0] // REDUCTION[1]
    return reduced


def _keep_stages(network: nn.Module, first: int, last: int) -> None:
    """Take away all stages but some, in place; what stands before the stages too, unless the first one is kept."""
    kept = list(network.res_layers)[first:last]
    for name, _ in list(network.named_children()):
        if name in network.res_layers and name not in kept:
            delattr(network, name)
        elif name not in kept and first > 0:
            setattr(network, name, nn.Identity())
    network.res_layers = kept
    network.out_indices = (len(kept) - 1, )
    if first > 0 and hasattr(network, 'frozen_stages'):
        network.frozen_stages = -1


def _entries(block: nn.Module) -> list[tuple[nn.Module, str]]:
    """The convolutions that a block's input goes into: of each, the parent and the name."""
    found = [(block, 'conv1')] if isinstance(getattr(block, 'conv1', None), nn.Conv2d) else []
    for path in SHORTCUTS:
        shortcut = getattr(block, path, None)
        if isinstance(shortcut, nn.Module):
            found += [(shortcut, name) for name, child in shortcut.named_children() if isinstance(child, nn.Conv2d)]
    return found


def _input_channels(block: nn.Module) -> int:
    entries = _entries(block)
    if not entries:
        raise ValueError(f'{type(block).__name__} has no convolution `conv1`, so that its input is unknown and '
                         'backbone.network cannot be divided among experts.')
    return getattr(*entries[0]).in_channels


def _widen_input(block: nn.Module, channels: int) -> None:
    """Let a block of a narrow network take the features of a wider one, in place."""
    for parent, name in _entries(block):
        conv = getattr(parent, name)
        if conv.in_channels == channels:
            continue
        if conv.groups > 1:
            raise ValueError(f'backbone.reduce_dimension=True cannot change the grouped convolution {name} of '
                             f'{type(block).__name__}.')
        setattr(parent, name, type(conv)(
            channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
            bias=conv.bias is not None, padding_mode=conv.padding_mode))
    if hasattr(block, 'in_channels'):
        block.in_channels = channels
