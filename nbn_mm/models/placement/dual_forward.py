"""The forward of a backbone with CompoundBN: in training the split path runs after the compound path."""
from collections.abc import Callable
from types import CodeType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import CompoundBN
from ..layers.kept_buffers import kept_buffers


class DualForward:
    """``forward`` of a backbone whose CompoundBN layers have a split path.

    In a training forward with labels the network runs twice on shared weights, first on the compound path, and the
    features of both come back as one batch, the N rows of the compound path before those of the split path. In the
    second run only CompoundBN moves its statistics: those of all other layers belong to the path that is tested.

    Args:
        backbone (nn.Module): The network.
        owner (CompoundOwner): The owner of its layers.
    """

    def __init__(self, backbone: nn.Module, owner: nn.Module) -> None:
        self.backbone = backbone
        self.owner = owner

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """As the backbone's own forward, of 2N rows on both paths."""
        forward = self.__wrapped__
        if not self.backbone.training:
            return forward(x, *args, **kwargs)
        members = self.owner.members(len(x))
        compound = forward(x, *args, **kwargs)
        if members is None:
            return compound
        self.owner.membership = members
        try:
            with kept_buffers(module for module in self.backbone.modules() if not isinstance(module, CompoundBN)):
                split = forward(x, *args, **kwargs)
        finally:
            self.owner.membership = None
        if isinstance(compound, Tensor):
            return torch.cat([compound, split])
        return type(compound)(torch.cat(pair) for pair in zip(compound, split, strict=True))

    @property
    def __wrapped__(self) -> Callable:
        """The backbone's own forward, whose signature this one has."""
        return MethodType(type(self.backbone).forward, self.backbone)

    @property
    def __code__(self) -> CodeType:
        """What ``torch.export`` asks a forward for."""
        return self.__wrapped__.__code__
