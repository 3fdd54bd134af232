"""Which batch norms of a backbone become NBN (Table VI of the paper), for any host.

Bao et al., Normalizing Batch Normalization for Long-Tailed Recognition, TIP 2024, arXiv:2501.03122. The paper's choice:
in the last stage, the batch norm that ends each residual block and the one of the stage's downsample path.
"""
import re
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

PLACEMENTS = ('paper', 'A', 'B_stage', 'B_network', 'C')
SHARES = ('all', 'block', 'none')
SHORTCUTS = ('downsample', 'shortcut')


def by_pattern(field: str) -> str:
    """Advice to choose layers by name."""
    return f"choose layers by name with {field}=dict(pattern='...')"


def batch_norms(module: nn.Module) -> dict[str, _BatchNorm]:
    """Name → batch norm, in the order of definition."""
    return {name: child for name, child in module.named_modules() if isinstance(child, _BatchNorm)}


def find_stages(backbone: nn.Module) -> list[tuple[str, ...]]:
    """The residual stages: the host's ``res_layers``, else the children ``layer1``, ``layer2``, …

    A lone ``layer1`` beside children ``stage2``, … is none: that of HRNet is its stem.

    Args:
        backbone (nn.Module): Any network.

    Returns:
        list[tuple[str, ...]]: Names of the modules of each stage: one, or one an expert of ``MultiExpertBackbone``.
    """
    modules = dict(backbone.named_modules())
    names = getattr(backbone, 'res_layers', None)
    if isinstance(names, (list, tuple)):
        stages = [(stage, ) if isinstance(stage, str) else tuple(stage) for stage in names]
        if stages and all(name in modules for stage in stages for name in stage):
            return stages
    numbered = [n for n, _ in backbone.named_children() if re.fullmatch(r'layer\d+', n)]
    if len(numbered) == 1 and any(batch_norms(child) for name, child in backbone.named_children()
                                  if re.fullmatch(r'stage\d+', name)):
        return []
    return [(name, ) for name in sorted(numbered, key=lambda n: int(n[len('layer'):]))]


def find_blocks(backbone: nn.Module) -> list[str]:
    """Names of the residual blocks: the children of the stages that hold a batch norm."""
    return [f'{stage}.{name}' for stages in find_stages(backbone) for stage in stages
            for name, block in backbone.get_submodule(stage).named_children() if batch_norms(block)]


def block_end_norms(block: nn.Module, name: str, field: str = 'nbn') -> list[str]:
    """Names of the batch norms that end the paths of a residual block: its last one and that of the downsample path.

    The last one is the direct child with the highest number (``bn3`` of ``bn1, bn2, bn3``): the order of definition
    differs between blocks, in Res2Net for one.

    Args:
        block (nn.Module): The block.
        name (str): Its name in the backbone.
        field (str): The config field of the options, for messages.

    Raises:
        ValueError: If the block has no numbered batch norm.
    """
    numbered = {}
    for child_name, child in block.named_children():
        match = re.fullmatch(r'[A-Za-z_]+?(\d+)', child_name)
        if match and isinstance(child, _BatchNorm):
            numbered[int(match[1])] = child_name
    if not numbered:
        raise ValueError(f'Block {name} ({type(block).__name__}) has no batch norm named with a number, such as bn2, '
                         f'so the one that ends it is unknown; {by_pattern(field)}.')
    ends = [f'{name}.{numbered[max(numbered)]}']
    for path in SHORTCUTS:
        if isinstance(getattr(block, path, None), nn.Module):
            shortcut = f'{name}.{path}'
            ends += [f'{shortcut}.{n}' if n else shortcut for n in batch_norms(getattr(block, path))]
    return ends


def _choose_stages(backbone: nn.Module, stages: Sequence[int] | None, field: str) -> list[str]:
    names = find_stages(backbone)
    if not names:
        raise ValueError(f'{type(backbone).__name__} has no residual stages (res_layers, or children layer1, layer2, '
                         f"…); {by_pattern(field)}, or take placement='C'.")
    stages = (-1, ) if stages is None else stages
    if not isinstance(stages, (list, tuple)) or not stages or not all(type(s) is int for s in stages):
        raise ValueError(f'{field}.stages={stages!r} must be a tuple of integers, 1-based, negative from the end.')
    chosen = []
    for stage in stages:
        if not 1 <= abs(stage) <= len(names):
            raise ValueError(f'{field}.stages={tuple(stages)!r}: {type(backbone).__name__} has {len(names)} stages '
                             f'({", ".join(map(" + ".join, names))}); {stage} is out of range 1..{len(names)} or '
                             f'-{len(names)}..-1.')
        chosen += names[stage - 1 if stage > 0 else stage]
    return chosen


def select_layers(backbone: nn.Module, placement: str = 'paper', stages: Sequence[int] | None = None,
                  pattern: str | None = None, field: str = 'nbn') -> list[str]:
    """Names of the batch norms that become NBN (or another norm that is placed like it), in the order of definition.

    Args:
        backbone (nn.Module): Any network; ``pattern`` and ``'C'`` need no residual stages.
        placement (str): ``'paper'``, ``'A'`` (all of the stages), ``'B_stage'`` (A without the paper's),
            ``'B_network'`` (all of the network without the paper's) or ``'C'`` (all).
        stages (Sequence[int], optional): 1-based, negative from the end; None: the last.
        pattern (str, optional): Searched in the names; replaces ``placement``.
        field (str): The config field of these options, for messages. Defaults to ``'nbn'``.

    Raises:
        ValueError: If an option is wrong, nothing is selected, or the backbone has no batch norm.
    """
    if placement not in PLACEMENTS:
        raise ValueError(f'{field}.placement={placement!r} must be one of {PLACEMENTS}; or {by_pattern(field)}.')
    norms = batch_norms(backbone)
    if not norms:
        raise ValueError(f'{type(backbone).__name__} has no batch norm, so there is nothing to replace. Check '
                         "backbone.base and backbone.norm_cfg, which must be dict(type='BN').")
    if stages is not None and (pattern is not None or placement == 'C'):
        other = f"{field}.{f'pattern={pattern!r}' if pattern is not None else 'placement=' + repr('C')}"
        raise ValueError(f'{field}.stages={stages!r} has no meaning with {other}; drop one of them (stages=None).')
    if pattern is not None:
        chosen = set(filter(_compile(pattern, f'{field}.pattern').search, norms))
        what = f'{field}.pattern={pattern!r} matches no batch norm'
    else:
        chosen = set(_place(backbone, norms, placement, stages, field))
        what = f'{field}.placement={placement!r} selects no batch norm'
    if not chosen:
        names = list(norms)
        raise ValueError(f'{what} of {type(backbone).__name__}; there are {", ".join(names[:6])}'
                         f'{f", … ({len(names)} in all)" if len(names) > 6 else ""}.')
    return [name for name in norms if name in chosen]


def _place(backbone: nn.Module, norms: dict[str, _BatchNorm], placement: str, stages: Any,
           field: str) -> list[str]:
    if placement == 'C':
        return list(norms)
    prefixes = tuple(f'{stage}.' for stage in _choose_stages(backbone, stages, field))
    within = [name for name in norms if name.startswith(prefixes)]
    if placement == 'A':
        return within
    ends = [end for block in find_blocks(backbone) if block.startswith(prefixes)
            for end in block_end_norms(backbone.get_submodule(block), block, field)]
    if placement == 'paper':
        return ends
    return [name for name in (within if placement == 'B_stage' else norms) if name not in ends]


def group_layers(backbone: nn.Module, names: Sequence[str], share: str = 'all') -> dict[str, str]:
    """Layer name → name of the group that shares a magnitude.

    Args:
        backbone (nn.Module): The network.
        names (Sequence[str]): The NBN layers.
        share (str): ``'all'`` (one group, ``''``), ``'block'`` (a residual block; elsewhere the parent module),
            ``'none'``, or a regular expression whose one group, found in the layer's name, names the group.

    Raises:
        ValueError: If ``share`` is none of these or does not match each layer, or if two groups get one name.
    """
    if not isinstance(share, str):
        raise ValueError(f'nbn.share={share!r} must be one of {SHARES} or a regular expression with one group.')
    if share == 'all':
        return dict.fromkeys(names, '')
    raw = {}
    expression = None if share in SHARES else _compile(share, 'nbn.share')
    if expression is not None and expression.groups != 1:
        raise ValueError(f'nbn.share={share!r} must be one of {SHARES} or a regular expression with one group, whose '
                         f"text names the sharers, such as r'(expert\\d+)'; it has {expression.groups}.")
    blocks = find_blocks(backbone) if share == 'block' else []
    for name in names:
        if share == 'none':
            raw[name] = name
        elif share == 'block':
            raw[name] = next((b for b in blocks if name.startswith(b + '.')), name.rpartition('.')[0]) or 'stem'
        else:
            match = expression.search(name)
            if not match or not match[1]:
                raise ValueError(f'nbn.share={share!r} finds no group in the name of the NBN layer {name!r}.')
            raw[name] = match[1]
    return _as_identifiers(raw)


def _as_identifiers(raw: dict[str, str]) -> dict[str, str]:
    """Group names as parameter names, which hold no dot."""
    groups = {name: group.replace('.', '_') for name, group in raw.items()}
    origin: dict[str, str] = {}
    for name, group in groups.items():
        if origin.setdefault(group, raw[name]) != raw[name]:
            raise ValueError(f'nbn.share: the groups {origin[group]!r} and {raw[name]!r} would both be named '
                             f'{group!r}.')
        if hasattr(nn.Module(), group):
            raise ValueError(f'nbn.share: the group {group!r} cannot name a parameter.')
    return groups


def _compile(expression: Any, field: str) -> 're.Pattern':
    try:
        return re.compile(expression)
    except (re.error, TypeError) as error:
        raise ValueError(f'{field}={expression!r} is no regular expression: {error}.') from error
