"""BN → NBN in place, with the owner of the shared magnitude."""
from collections.abc import Sequence

from mmengine.logging import print_log
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from ..layers import NBN, AllReduceBN, NBNOptions
from .checkpointing import checkpoint_shared
from .joint_forward import JointForward
from .owner import NBNOwner
from .selection import batch_norms, group_layers, select_layers

PLACEMENT_OPTIONS = ('placement', 'stages', 'pattern', 'share')
OWNER_NAME = 'nbn'


def apply_nbn(backbone: nn.Module,
              placement: str = 'paper',
              stages: Sequence[int] | None = None,
              pattern: str | None = None,
              share: str = 'all',
              **options) -> nn.Module:
    """Replace chosen batch norms of a network by NBN, in place, and give it the owner of their magnitude.

    The layers keep parameters, statistics, mode and ``requires_grad`` of those they replace. Nothing else changes, but
    that with ``sync=True`` the other batch norms become :class:`AllReduceBN`, that blocks with ``with_cp=True`` are
    checkpointed in the way that allows a shared magnitude, and that ``forward`` computes the vectors of all NBN layers
    at once (:class:`JointForward`). The owner is added as the child ``nbn``.

    Args:
        backbone (nn.Module): The network.
        placement (str): See :func:`select_layers`.
        stages (Sequence[int], optional): See :func:`select_layers`.
        pattern (str, optional): See :func:`select_layers`.
        share (str): See :func:`group_layers`.
        **options: See :class:`NBNOptions`.

    Returns:
        nn.Module: ``backbone``.

    Raises:
        ValueError: If an option is wrong, or the network has no batch norm, has NBN already or uses SyncBN.
    """
    parsed = NBNOptions.from_dict(options, also_known=PLACEMENT_OPTIONS)
    _check_network(backbone)
    names = select_layers(backbone, placement, stages, pattern)
    norms = batch_norms(backbone)
    for name in names:
        if norms[name]._parameters.get('weight') is None:
            raise ValueError(f'The batch norm {name} has no weight and bias (affine=False), so NBN has nothing to '
                             'normalise there. Set backbone.norm_cfg.affine, or leave it out with nbn.pattern.')
    groups = group_layers(backbone, names, share)
    owner = NBNOwner(parsed, groups.values(), like=norms[names[0]].weight)
    replaced = {norms[name]: NBN.from_batch_norm(norms[name], parsed, owner, groups[name]) for name in names}
    if parsed.sync:
        replaced.update({bn: AllReduceBN.from_batch_norm(bn) for bn in norms.values() if bn not in replaced})
    replace_modules(backbone, replaced)
    owner.train(backbone.training)
    backbone.add_module(OWNER_NAME, owner)
    checkpoint_shared(backbone)
    backbone.forward = JointForward(backbone, owner)
    print_log(f'NBN replaces {len(names)} of {len(norms)} batch norms of {type(backbone).__name__}: '
              f'{", ".join(names)}; {len(owner.groups)} magnitude group(s), {parsed}', logger='current')
    return backbone


def _check_network(backbone: nn.Module) -> None:
    if hasattr(backbone, OWNER_NAME):
        raise ValueError(f'{type(backbone).__name__} already has an attribute {OWNER_NAME!r}; NBN cannot be placed '
                         'twice.')
    for name, module in batch_norms(backbone).items():
        if isinstance(module, NBN):
            raise ValueError(f"{name} is NBN already: give the backbone norm_cfg=dict(type='BN') and let nbn=dict(...) "
                             'place it, or build `base` without NBNBackbone.')
        if isinstance(module, SyncBatchNorm):
            raise ValueError(f'{name} is a SyncBN, whose statistics NBN cannot take over. Set backbone.norm_cfg='
                             "dict(type='BN') and nbn=dict(sync=True), which synchronises all batch norms of the "
                             'backbone.')


def replace_modules(network: nn.Module, replaced: dict[_BatchNorm, nn.Module]) -> None:
    """Put new modules in the places of old ones, wherever a parent holds them.

    Args:
        network (nn.Module): The network, changed in place.
        replaced (dict): Old module → new module.
    """
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if child in replaced:
                parent._modules[name] = replaced[child]
