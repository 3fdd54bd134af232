"""Checkpoints in the format of the authors' release of NBN, turned into ours.

Facts of that format (github.com/yuxiangbao/NBN: key names and shapes): a dict with ``state_dict``, ``arch`` and
``epoch``; keys behind ``module.`` of DataParallel; ResNet and ResNeXt under torchvision's names and ``fc``; logit
rectification as ``fc.bn``; one ``scale_factor`` vector with an entry for each layer that could be scaled, of which the
first is the magnitude. RIDE form: ``layer3s.{k}``, ``layer4s.{k}`` and ``linears.{k}`` once an expert, and entry k of
``scale_factor`` is the magnitude of expert k.
"""
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..models.layers import NBN, LogitRectification
from .checkpoint_file import build_model, read_checkpoint

SHOWN = 12  # keys of each kind in an error
NORM_EPS, BN_EPS = 1e-6, 1e-5
EXPERT_SHARE = r'experts\.(\d+)\.'
EXPERT_STAGE = re.compile(r'^layer(\d)s\.(\d+)\.(.+)$')


@dataclass
class PublishedNetwork:
    """A published state dict under our names.

    Args:
        state (dict[str, Tensor]): Our keys to tensors.
        experts (int): Number of experts; 0: one network.
        nbn (bool): Whether there are magnitudes.
        rectified (bool): Whether there is logit rectification.
    """
    state: dict[str, Tensor]
    experts: int
    nbn: bool
    rectified: bool


def rename_published(state: dict[str, Tensor]) -> PublishedNetwork:
    """Give the entries of a published state dict our names.

    The unused entries of ``scale_factor`` are dropped. An affine ``fc.bn`` is folded into the classifier, together with
    its statistics: ours has no affine parameters.

    Args:
        state (dict[str, Tensor]): Published keys, without ``module.``.

    Returns:
        PublishedNetwork: Under our names.

    Raises:
        ValueError: If keys are unknown, named in the error.
    """
    experts = 1 + max((int(match[2]) for match in map(EXPERT_STAGE.match, state) if match), default=-1)
    ours: dict[str, Tensor] = {}
    unknown = []
    for key, value in state.items():
        stage = EXPERT_STAGE.match(key)
        if key == 'scale_factor':
            _add_magnitudes(value, experts, ours)
        elif stage is not None:
            ours[f'backbone.experts.{stage[2]}.layer{stage[1]}.{stage[3]}'] = value
        elif re.match(r'^(conv1|bn1|layer\d)\.', key):
            ours[f'backbone.{"shared." if experts else ""}{key}'] = value
        elif re.match(r'^linears\.\d+\.' if experts else r'^fc\.', key):
            ours[re.sub(r'^linears\.(\d+)', r'head.experts.\1.fc', key) if experts else f'head.{key}'] = value
        else:
            unknown.append(key)
    if unknown:
        raise ValueError(f'{len(unknown)} keys are none of the published format: {_some(unknown)}.')
    rectified = _rename_rectification(ours)
    return PublishedNetwork(ours, experts, 'scale_factor' in state, rectified)


def _add_magnitudes(factor: Tensor, experts: int, ours: dict[str, Tensor]) -> None:
    if factor.dim() != 1 or len(factor) < max(experts, 1):
        raise ValueError(f'scale_factor has the shape {tuple(factor.shape)}; a vector with a magnitude for each of '
                         f'{max(experts, 1)} networks was expected.')
    if experts:
        ours.update({f'backbone.nbn.magnitudes.{k}': factor[k].clone() for k in range(experts)})
    else:
        ours['backbone.nbn.magnitude'] = factor[0].clone()


def _rename_rectification(ours: dict[str, Tensor]) -> bool:
    """``{classifier}.bn.…`` to ``{classifier}.logit_rectification.…``, in place; whether there is any in the end."""
    found = False
    for name in [key[:-len('.bn.running_mean')] for key in ours if key.startswith('head.') and
                 key.endswith('.bn.running_mean')]:
        parts = {key[len(f'{name}.bn.'):]: ours.pop(key) for key in list(ours) if key.startswith(f'{name}.bn.')}
        if 'weight' in parts:
            scale = parts['weight'].double() * (parts['running_var'].double() + BN_EPS).rsqrt()
            like = ours[f'{name}.weight']
            bias = ours[f'{name}.bias'].double() - parts['running_mean'].double()
            ours[f'{name}.weight'] = (like.double() * scale[:, None]).to(like)
            ours[f'{name}.bias'] = (bias * scale + parts['bias'].double()).to(like)
        else:
            found = True
            ours.update({f'{name}.logit_rectification.{key}': value for key, value in parts.items()})
    return found


def published_layers(state: dict[str, Tensor], experts: int) -> set[str]:
    """Names of the layers that the published code normalises: in the last stage the norm that ends each block and that
    of the downsample path; of each expert all norms of its last stage.

    Args:
        state (dict[str, Tensor]): Our keys.
        experts (int): Number of experts; 0: one network.
    """
    norms = [key[:-len('.running_mean')] for key in state if key.startswith('backbone.')
             and key.endswith('.running_mean')]
    stages = [re.search(r'\.layer(\d)\.', name) for name in norms]
    last = max((int(match[1]) for match in stages if match), default=0)
    inside = [name for name in norms if f'.layer{last}.' in name]
    if experts:
        return {name for name in inside if '.experts.' in name}
    ends: dict[str, str] = {}
    for name in sorted(inside):
        block, _, layer = name.rpartition('.')
        if re.fullmatch(r'bn\d', layer):
            ends[block] = name  # the highest number comes last
    return {*ends.values(), *(name for name in inside if '.downsample.' in name)}


def convert_published(config: str, checkpoint: str, out: str) -> str:
    """Convert a published checkpoint and write it.

    Args:
        config (str): Our config of the same network, such as
            ``configs/imagenet_lt/resnet50_nbn_lr_ce_imagenet_lt.py``.
        checkpoint (str): The published file.
        out (str): File to write, ``.pth``.

    Returns:
        str: What was converted.

    Raises:
        ValueError: If ``out`` is unfit, keys are unknown, missing or of other shapes, or the config's network computes
            something else from these numbers.
    """
    target = Path(out)
    if target.suffix != '.pth' or target.resolve() == Path(checkpoint).resolve():
        raise ValueError(f'out={out!r} must end in .pth and be another file than the published one.')
    state = read_checkpoint(checkpoint)['state_dict']
    network = rename_published(state)
    model = build_model(Config.fromfile(config))
    _check_keys(model, network, config)
    _check_maths(model, network, config)
    model.load_state_dict(network.state)
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=dict(published=Path(checkpoint).name), state_dict=model.state_dict()), target)
    magnitudes = [f'{float(value):.4g}' for key, value in network.state.items() if '.nbn.magnitude' in key]
    return (f'{len(network.state)} tensors: '
            + (f'{network.experts} experts, ' if network.experts else '')
            + (f'magnitude {", ".join(magnitudes)}' if magnitudes else 'no NBN')
            + (', logit rectification.' if network.rectified else ', no logit rectification.'))


def _check_keys(model: nn.Module, network: PublishedNetwork, config: str) -> None:
    own = model.state_dict()
    missing = [key for key in own if key not in network.state]
    foreign = [key for key in network.state if key not in own]
    shapes = [f'{key} {tuple(value.shape)} for {tuple(own[key].shape)}' for key, value in network.state.items()
              if key in own and own[key].shape != value.shape]
    if missing or foreign or shapes:
        parts = ((f'{len(missing)} tensors of the model are not in the checkpoint: {_some(missing)}', missing),
                 (f'{len(foreign)} tensors of the checkpoint are not in the model: {_some(foreign)}', foreign),
                 (f'{len(shapes)} have another shape: {_some(shapes)}', shapes))
        raise ValueError(f'{config} is another network than the published one. ' +
                         '. '.join(text for text, found in parts if found) +
                         f'. The checkpoint is of {_describe(network)}.')


def _check_maths(model: nn.Module, network: PublishedNetwork, config: str) -> None:
    """Refuse a model with the right keys whose layers compute something else."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, NBN)}
    expected = published_layers(network.state, network.experts) if network.nbn else set()
    if set(layers) != expected:
        raise ValueError(f'{config} places NBN elsewhere than the published network, which is {_describe(network)}: '
                         f'not in {_some(sorted(expected - set(layers))) or "no further layer"}, but in '
                         f'{_some(sorted(set(layers) - expected)) or "no other layer"}.')
    for name, layer in layers.items():
        options = layer.options
        if not options.normalize or options.zero_bias == 'smooth' or options.norm_eps != NORM_EPS:
            raise ValueError(f'{config}: {name} has nbn=dict(normalize={options.normalize}, zero_bias='
                             f'{options.zero_bias!r}, norm_eps={options.norm_eps}), the published layer normalises '
                             f'with norm_eps={NORM_EPS} and no smoothing.')
    for name, module in model.named_modules():
        if isinstance(module, (LogitRectification, nn.modules.batchnorm._BatchNorm)) and module.eps != BN_EPS:
            raise ValueError(f'{config}: {name} has eps={module.eps}, the published layer {BN_EPS}.')


def _describe(network: PublishedNetwork) -> str:
    """The network in the words of a config."""
    parts = [f'backbone=dict(network=…, num_experts={network.experts})' if network.experts else 'one network']
    if network.nbn and network.experts:
        parts.append(f"nbn=dict(placement='A', share={EXPERT_SHARE!r})")
    elif network.nbn:
        parts.append("nbn=dict(placement='paper', share='all')")
    else:
        parts.append('BN')
    parts.append("predictor=dict(type='RectifiedPredictor')" if network.rectified else 'a linear classifier')
    return ', '.join(parts)


def _some(keys: Iterable[str]) -> str:
    keys = list(keys)
    return ', '.join(keys[:SHOWN]) + (f', … ({len(keys)} in all)' if len(keys) > SHOWN else '')
