"""BN → CompoundBN in place, with the owner of groups and magnitude."""
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm

from ..layers import NBN, AllReduceBN, CompoundBN, CompoundOptions
from .apply import replace_modules
from .compound_owner import CompoundOwner
from .dual_forward import DualForward
from .selection import batch_norms, select_layers

OWNER_NAME = 'compound'
COMPOUND_PLACEMENT_OPTIONS = ('placement', 'stages', 'pattern', 'split')


def apply_compound_bn(backbone: nn.Module,
                      placement: str = 'paper',
                      stages: Sequence[int] | None = None,
                      pattern: str | None = None,
                      split: bool = True,
                      **options: Any) -> nn.Module:
    """Replace chosen batch norms of a network by CompoundBN, in place, and give it their owner as child ``compound``.

    The placement is that of NBN: the paper of CompoundBN is not known to say which layers it replaces.

    Args:
        backbone (nn.Module): The network.
        placement (str): See :func:`select_layers`.
        stages (Sequence[int], optional): See :func:`select_layers`.
        pattern (str, optional): See :func:`select_layers`.
        split (bool): Whether training has the split path. Defaults to True.
        **options: See :class:`CompoundOptions`.

    Returns:
        nn.Module: ``backbone``.

    Raises:
        ValueError: If an option is wrong, the network has no batch norm, has CompoundBN or NBN already, uses SyncBN, or
            recomputes its blocks in the backward pass (``with_cp``).
    """
    parsed = CompoundOptions.from_dict(options, also_known=COMPOUND_PLACEMENT_OPTIONS)
    if not isinstance(split, bool):
        raise ValueError(f'compound.split={split!r} must be True or False.')
    if split and parsed.num_components == 1:
        raise ValueError('compound.num_components=1 has one group, so there is nothing to split: set '
                         'compound.split=False.')
    _check_network(backbone)
    names = select_layers(backbone, placement, stages, pattern, field='compound')
    norms = batch_norms(backbone)
    for name in names:
        if norms[name]._parameters.get('weight') is None or norms[name].running_var is None:
            raise ValueError(f'The batch norm {name} has no weight and bias, or no running statistics; CompoundBN '
                             'needs both. Change backbone.norm_cfg, or leave it out with compound.pattern.')
    owner = CompoundOwner(parsed, split, like=norms[names[0]].weight)
    replaced = {norms[name]: CompoundBN.from_batch_norm(norms[name], parsed, owner) for name in names}
    if parsed.sync:
        replaced.update({bn: AllReduceBN.from_batch_norm(bn) for bn in norms.values() if bn not in replaced})
    replace_modules(backbone, replaced)
    owner.train(backbone.training)
    backbone.add_module(OWNER_NAME, owner)
    if split:
        backbone.forward = DualForward(backbone, owner)
    print_log(f'CompoundBN replaces {len(names)} of {len(norms)} batch norms of {type(backbone).__name__}: '
              f'{", ".join(names)}; split={split}, {parsed}', logger='current')
    return backbone


def _check_network(backbone: nn.Module) -> None:
    if hasattr(backbone, OWNER_NAME):
        raise ValueError(f'{type(backbone).__name__} already has an attribute {OWNER_NAME!r}; CompoundBN cannot be '
                         'placed twice.')
    for name, module in batch_norms(backbone).items():
        if isinstance(module, (CompoundBN, NBN)):
            raise ValueError(f'{name} is {type(module).__name__} already: give the backbone norm_cfg='
                             "dict(type='BN') and let compound=dict(...) place CompoundBN; NBN's normalised affine "
                             'vectors come with compound=dict(nbn=dict()).')
        if isinstance(module, SyncBatchNorm):
            raise ValueError(f'{name} is a SyncBN, whose statistics CompoundBN cannot take over. Set backbone.norm_cfg='
                             "dict(type='BN') and compound=dict(sync=True), which synchronises all batch norms of the "
                             'backbone.')
    for name, module in backbone.named_modules():
        if getattr(module, 'with_cp', False) is True:
            raise ValueError(f'{name or "the backbone"} has with_cp=True: when a block is recomputed, the statistics '
                             'from which CompoundBN takes its responsibilities have moved on. Set '
                             'backbone.with_cp=False.')
