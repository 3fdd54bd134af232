"""Effective weights and directions of the norm layers in checkpoints, for two tools of ``tools/analysis_tools``."""
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from ..models.layers import NBN
from .checkpoint_file import build_model, read_checkpoint

MAGNITUDE = re.compile(r'(^|\.)(bias_)?magnitudes?(\.|$)')
Weights = 'OrderedDict[str, np.ndarray]'


def collect_norm_weights(checkpoints: Sequence[tuple[str, str | PathLike]],
                         layers: str | None = None) -> dict[str, Weights]:
    """|w| of the norm layers of several checkpoints: w̃ of NBN layers, the affine weight of BN layers.

    For an NBN checkpoint the network is built from the config that mmengine keeps in it, so that each option (ε,
    sharing, gains) counts. Without ``layers``, NBN checkpoints give their NBN layers, and BN checkpoints the layers of
    these names.

    Args:
        checkpoints (Sequence[tuple[str, PathLike]]): Name of the method and its checkpoint.
        layers (str, optional): Regular expression (``re.search``) on the names of the BN and NBN layers to take.

    Returns:
        dict[str, OrderedDict[str, np.ndarray]]: Method to layer name to absolute weights, float64, shape ``(C, )``.

    Raises:
        FileNotFoundError: If a checkpoint doesn't exist.
        ValueError: If a file is no checkpoint, a name stands twice, the expression is invalid, no layer matches, or an
            NBN checkpoint holds no config or doesn't fit it.
    """
    names = [name for name, _ in checkpoints]
    if len(set(names)) != len(names):
        raise ValueError(f'a name stands twice among {names}; give each checkpoint a name of its own.')
    if layers is not None:
        try:
            re.compile(layers)
        except re.error as error:
            raise ValueError(f'layers={layers!r} is no regular expression: {error}.') from None
    loaded = [(name, Path(path), read_checkpoint(path)) for name, path in checkpoints]
    found: dict[str, Weights] = {}
    for name, path, checkpoint in loaded:
        if _has_magnitude(checkpoint):
            match = (lambda layer: True) if layers is None else re.compile(layers).search
            found[name] = _of_model(checkpoint, path, match, only_nbn=layers is None)
            _check_found(found[name], _norm_names(checkpoint), path, layers)
    chosen = {layer for per_layer in found.values() for layer in per_layer}
    for name, path, checkpoint in loaded:
        if name not in found:
            if layers is None and not chosen:
                raise ValueError(f'none of the checkpoints holds an NBN layer; say which BN layers to take, e.g. '
                                 f"layers='layer4'. {str(path)!r} has {_some(_norm_names(checkpoint))}.")
            match = chosen.__contains__ if layers is None else re.compile(layers).search
            found[name] = _of_state_dict(checkpoint, match)
            _check_found(found[name], _norm_names(checkpoint), path, layers or _some(sorted(chosen)))
    return {name: found[name] for name in names}


def _has_magnitude(checkpoint: Mapping) -> bool:
    return any(MAGNITUDE.search(key) for key in checkpoint['state_dict'])


def _norm_names(checkpoint: Mapping) -> list[str]:
    state = checkpoint['state_dict']
    names = [key[:-len('.running_var')] for key in state if key.endswith('.running_var')]
    return [name for name in names if f'{name}.weight' in state]


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:6]) + (f', … ({len(names)} in all)' if len(names) > 6 else '') or 'no norm layer'


def _check_found(weights: Weights, names: Sequence[str], path: Path, layers: str | None) -> None:
    if not weights:
        raise ValueError(f'no norm layer of {str(path)!r} matches layers={layers!r}; it has {_some(names)}.')


def _of_state_dict(checkpoint: Mapping, match: Callable[[str], Any]) -> Weights:
    return OrderedDict((name, _absolute(checkpoint['state_dict'][f'{name}.weight']))
                       for name in _norm_names(checkpoint) if match(name))


def nbn_vectors(path: str | PathLike) -> list[dict[str, Any]]:
    """What NBN's parameters have become in a checkpoint, layer by layer.

    Args:
        path (PathLike): A checkpoint that mmengine's CheckpointHook saved; the config in it builds the network.

    Returns:
        list[dict]: ``layer``; ``magnitude``, g; ``weight_norm``, ‖w‖ of the direction, which started at √C;
        ``spread``, standard deviation of the effective weights over their mean, which started at 0; ``bias_norm``,
        ‖b‖ of the direction; ``effective_bias_norm``, ‖b̃‖.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no NBN magnitude or no config, or doesn't fit its config.
    """
    checkpoint = read_checkpoint(path)
    if not _has_magnitude(checkpoint):
        raise ValueError(f'{str(path)!r} holds no NBN magnitude: it is of another network.')
    found = []
    for name, layer in _network(checkpoint, Path(path)).named_modules():
        if isinstance(layer, NBN) and layer.affine:
            weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
            found.append(dict(
                layer=name, magnitude=layer.get_magnitude().item(), weight_norm=layer.weight_direction.norm().item(),
                spread=(weight.std() / weight.mean().abs()).item(), bias_norm=layer.bias_direction.norm().item(),
                effective_bias_norm=bias.norm().item()))
    return found


def _of_model(checkpoint: Mapping, path: Path, match: Callable[[str], Any], only_nbn: bool) -> Weights:
    model = _network(checkpoint, path)
    kinds = NBN if only_nbn else torch.nn.modules.batchnorm._BatchNorm
    return OrderedDict((name, _absolute(module.weight)) for name, module in model.named_modules()
                       if isinstance(module, kinds) and module.affine and match(name))


def _network(checkpoint: Mapping, path: Path) -> torch.nn.Module:
    text = checkpoint['meta'].get('cfg')
    if not text:
        raise ValueError(f'{str(path)!r} holds NBN magnitudes but no config (`meta.cfg`), so that the effective '
                         "weights are not known. Take a checkpoint that mmengine's CheckpointHook saved.")
    cfg = Config.fromstring(text, file_format='.py')
    model = build_model(cfg)
    try:
        model.load_state_dict(checkpoint['state_dict'])
    except RuntimeError as error:
        raise ValueError(f'{str(path)!r} does not fit the config that it holds: {error}') from None
    return model


def _absolute(weight: torch.Tensor) -> np.ndarray:
    if weight.dim() != 1:
        raise ValueError(f'a norm layer has weights of the shape {tuple(weight.shape)}: those of CompoundBN, one '
                         'vector a component, are not sorted into one curve. Choose other layers.')
    return weight.detach().double().abs().numpy()
