"""The forward of a backbone with NBN: the effective vectors of all its layers are computed at once, at its start."""
from collections.abc import Callable
from types import CodeType, MethodType
from typing import Any

from torch import nn

from ..layers.joint_vectors import hold_vectors, release_vectors


class JointForward:
    """``forward`` of a backbone, within which its NBN layers use vectors that were computed together.

    They are dropped when the forward ends, by an error too, so that whatever changes parameters between two forwards
    (an optimiser, a loaded state dict, a swap to moving averages, an edit of ``.data``) changes the next output. The
    layers also run without it, one by one or in a block that is recomputed.

    Args:
        backbone (nn.Module): The network.
        owner (NBNOwner): The owner of its layers.
    """

    def __init__(self, backbone: nn.Module, owner: nn.Module) -> None:
        self.backbone = backbone
        self.owner = owner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the backbone's own forward."""
        hold_vectors(self.owner.layers)
        try:
            return type(self.backbone).forward(self.backbone, *args, **kwargs)
        finally:
            release_vectors(self.owner.layers)

    @property
    def __wrapped__(self) -> Callable:
        """The backbone's own forward, whose signature this one has."""
        return MethodType(type(self.backbone).forward, self.backbone)

    @property
    def __code__(self) -> CodeType:
        """What ``torch.export`` asks a forward for."""
        return self.__wrapped__.__code__


def restore_forward(module: nn.Module) -> None:
    """Give a backbone its own forward back, in place."""
    if isinstance(vars(module).get('forward'), JointForward):
        del module.forward
