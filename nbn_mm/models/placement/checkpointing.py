"""Gradient checkpointing (``with_cp=True``) of blocks that share a magnitude.

The hosts call torch's reentrant checkpoint, which runs a backward pass of its own for each block. A parameter that
several blocks share then gets its gradient several times, and DistributedDataParallel refuses that. The other kind,
with ``use_reentrant=False``, has a single backward pass.
"""
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers import NBN

FLAG = 'with_cp'


class CheckpointedForward:
    """``forward`` of a block, recomputed in the backward pass without a backward pass of its own.

    Args:
        block (nn.Module): A block with NBN whose ``with_cp`` is set; it is switched off.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        setattr(block, FLAG, False)

    def __call__(self, x: Tensor) -> Tensor:
        """As the block's own forward; it is checkpointed under the host's condition, that ``x`` requires grad."""
        forward = type(self.block).forward
        return checkpoint(forward, self.block, x, use_reentrant=False) if x.requires_grad else forward(self.block, x)


def checkpoint_shared(backbone: nn.Module) -> list[str]:
    """Give the checkpointed blocks that reach an owner's magnitude a :class:`CheckpointedForward`, in place.

    Args:
        backbone (nn.Module): A network with placed NBN.

    Returns:
        list[str]: Names of the blocks.
    """
    flagged = [(name, module) for name, module in backbone.named_modules() if getattr(module, FLAG, False) is True]
    # the backbone carries the flag, too, and acts on it through its blocks
    blocks = [(name, module) for name, module in flagged
              if not any(getattr(child, FLAG, False) is True for child in module.modules() if child is not module)
              and any(isinstance(child, NBN) and child.owner is not None for child in module.modules())]
    for _, block in blocks:
        block.forward = CheckpointedForward(block)
    return [name for name, _ in blocks]


def restore_checkpointing(module: nn.Module) -> None:
    """Give a block its own forward and flag back, in place."""
    if isinstance(vars(module).get('forward'), CheckpointedForward):
        del module.forward
        setattr(module, FLAG, True)
