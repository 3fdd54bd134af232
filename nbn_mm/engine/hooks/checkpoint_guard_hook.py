"""Stops a run whose checkpoint does not belong to its model.

The hosts load with ``strict=False``: a checkpoint of another network, or of NBN in a BN network, would be loaded in
part and run silently wrong.
"""
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn as nn
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner

from ...models.layers.magnitude import MagnitudeHolder

_OWNER_MAGNITUDE = re.compile(r'(^|\.)nbn\.(bias_)?magnitude(s\..+)?$')
_LAYER_MAGNITUDE = re.compile(r'^(.+)\.(bias_)?magnitude$')
_HARMLESS = (r'num_batches_tracked$', r'^data_preprocessor\.')
_SHOWN = 5


class _Difference(NamedTuple):
    """What a state dict lacks, has beyond, and has in another shape than the model."""
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]

    def __str__(self) -> str:
        lines = [f'  {len(keys)} {kind}: {", ".join(keys[:_SHOWN])}{", …" if len(keys) > _SHOWN else ""}'
                 for kind, keys in zip(self._fields, self, strict=True) if keys]
        return '\n'.join(lines)


def magnitude_keys(keys: Sequence[str]) -> list[str]:
    """The keys of NBN magnitudes: the owner's, and those of layers that have a ``running_mean`` beside them."""
    known = set(keys)
    layers = ((key, _LAYER_MAGNITUDE.match(key)) for key in keys)
    own = {key for key, match in layers if match and f'{match.group(1)}.running_mean' in known}
    return [key for key in keys if key in own or _OWNER_MAGNITUDE.search(key)]


def unwrapped(module: nn.Module) -> nn.Module:
    """The network itself, without wrappers for several processes and for test-time augmentation."""
    while is_model_wrapper(module) or isinstance(module, BaseTTAModel):
        module = module.module
    return module


def _compare(model: nn.Module, state: dict[str, Any], metadata: dict[str, Any]) -> _Difference:
    """Load ``state`` as mmengine is about to, with the modules' own key conversions, and collect what does not fit."""
    missing, unexpected, errors = [], [], []

    def load(module: nn.Module, local: dict[str, Any], prefix: str) -> None:
        module = unwrapped(module)
        module._load_from_state_dict(local, prefix, metadata.get(prefix[:-1], {}), True, missing, unexpected, errors)
        for name, child in module._modules.items():
            if child is not None:
                start = f'{prefix}{name}.'
                load(child, {key: value for key, value in local.items() if key.startswith(start)}, start)

    load(model, dict(state), '')
    mismatched = [re.sub(r'^size mismatch for (.+?): copying a param with shape (.+?) from checkpoint, '
                         r'the shape in current model is (.+?)\.$', r'\1 (checkpoint \2, model \3)', error)
                  for error in errors]
    return _Difference(missing, unexpected, mismatched)


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Compares each checkpoint with the model before it is used. Our tools add it to every config.

    Always refused: a checkpoint with an NBN magnitude that the model lacks. For a test, a validation run and a resumed
    training every key and shape must agree (but for ``num_batches_tracked`` and the preprocessor's constants), and a
    model with a magnitude refuses a checkpoint without one; only a start with ``init_magnitude='pretrained'`` takes it
    at test, because that network equals the loaded one. For ``load_from`` of a training, differences are a warning (a
    new head, a magnitude that the config starts) as long as at least ``min_overlap`` of the backbone's tensors fit.

    Args:
        ignore (Sequence[str]): Regular expressions of keys that are left out of the comparison. Defaults to ``()``.
        min_overlap (float): Smallest share of the backbone's tensors (of all, without a ``backbone``) that
            ``load_from`` must fill. Defaults to 0.5.

    Raises:
        ValueError: If ``min_overlap`` lies outside [0, 1].
        RuntimeError: If a checkpoint does not belong to the model, naming config, checkpoint and keys.
    """
    priority = 'VERY_HIGH'

    def __init__(self, ignore: Sequence[str] = (), min_overlap: float = 0.5) -> None:
        if not 0 <= min_overlap <= 1:
            raise ValueError(f'min_overlap={min_overlap!r} of CheckpointGuardHook must lie in [0, 1].')
        self.ignore = [re.compile(pattern) for pattern in (*_HARMLESS, *ignore)]
        self.min_overlap = min_overlap

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the checkpoint with the model; called before the Runner loads it."""
        where = (f'checkpoint {getattr(runner, "_load_from", None)!r}, config '
                 f'{getattr(runner.cfg, "filename", None)!r}')
        training = isinstance(runner._train_loop, BaseLoop) or not any(
            isinstance(loop, BaseLoop) for loop in (runner._val_loop, runner._test_loop))
        if not training or runner._resume:
            self.check_for_test(runner.model, checkpoint, where, bool(runner._resume))
            return
        model, own, difference = self._differences(runner.model, checkpoint, where)
        self._check_overlap(model, difference, where)
        if any(difference):
            print_log(f'The checkpoint does not fill the whole model ({where}):\n{difference}', 'current', 30)

    def check_for_test(self, model: nn.Module, checkpoint: dict[str, Any], where: str, resume: bool = False) -> None:
        """Compare a checkpoint with a model that is about to be tested, or to continue its training.

        Args:
            model (nn.Module): The network; a wrapper is looked through.
            checkpoint (dict): With ``state_dict``, or a bare state dict.
            where (str): Checkpoint and config, for the message.
            resume (bool): Whether training continues from it. Defaults to False.

        Raises:
            RuntimeError: If the checkpoint is not of this network.
        """
        model, own, difference = self._differences(model, checkpoint, where)
        self._check_start(model, own, difference, resume, where)
        if any(difference):
            raise RuntimeError(f'The checkpoint is of another model ({where}):\n{difference}\nUse the config with '
                               'which it was trained. Keys that do not matter can be named in '
                               'default_hooks.checkpoint_guard.ignore (regular expressions).')

    def _differences(self, model: nn.Module, checkpoint: dict[str, Any],
                     where: str) -> tuple[nn.Module, list[str], _Difference]:
        """The unwrapped model, its magnitude keys, and what does not fit; raises for a magnitude that has no place."""
        stored = checkpoint.get('state_dict', checkpoint)
        state = {re.sub(r'^module\.', '', key): value for key, value in stored.items()}
        model = unwrapped(model)
        own = magnitude_keys(list(model.state_dict()))
        self._check_magnitudes(magnitude_keys(list(state)), own, where)
        return model, own, self._filtered(_compare(model, state, getattr(stored, '_metadata', None) or {}))

    def _filtered(self, difference: _Difference) -> _Difference:
        return _Difference(*([key for key in keys if not any(p.search(key.split(' (')[0]) for p in self.ignore)]
                             for keys in difference))

    @staticmethod
    def _check_magnitudes(saved: list[str], own: list[str], where: str) -> None:
        lost = [key for key in saved if key not in own]
        if lost and not own:
            raise RuntimeError(f'The checkpoint holds the NBN magnitude {lost[0]!r}, but the model has no NBN: its BN '
                               f'layers would take directions for weights ({where}). Fold it into a BN checkpoint '
                               'first (python tools/model_converters/fold_nbn.py), or use the config with NBN.')
        if lost:
            raise RuntimeError(f'The checkpoint shares its NBN magnitudes otherwise than the model ({where}): it holds '
                               f'{lost[:_SHOWN]}, the model {own[:_SHOWN]}. Set share, separate_bias_magnitude and '
                               'placement of nbn=dict(…) as in the config with which it was trained.')

    def _check_overlap(self, model: nn.Module, difference: _Difference, where: str) -> None:
        names = [name for name, _ in model.named_parameters()]
        names = [name for name in names if name.startswith('backbone.')] or names
        magnitudes = set(magnitude_keys(list(model.state_dict())))
        names = [name for name in names if name not in magnitudes]
        unfilled = set(difference.missing) | {key.split(' (')[0] for key in difference.mismatched}
        filled = sum(name not in unfilled for name in names)
        if names and (filled == 0 or filled < self.min_overlap * len(names)):
            raise RuntimeError(f'load_from fills {filled} of {len(names)} tensors of the '
                               f'{"backbone" if names[0].startswith("backbone.") else "model"}: the checkpoint is of '
                               f'another architecture ({where}).\n{difference}\nUse a checkpoint of this architecture; '
                               "weights of a bare backbone are loaded by init_cfg=dict(type='Pretrained', "
                               'checkpoint=…) in the backbone; default_hooks.checkpoint_guard.min_overlap sets the '
                               'share that is asked for.')

    @staticmethod
    def _check_start(model: nn.Module, own: list[str], difference: _Difference, resume: bool, where: str) -> None:
        """Refuse an NBN model on a checkpoint without magnitude, and forget what a pretrained start explains."""
        if not own or not set(own) <= set(difference.missing):
            return
        holders = [module for module in model.modules() if isinstance(module, MagnitudeHolder)]
        if resume or not all(module.options.starts_as_loaded for module in holders if module.magnitudes_by_key()):
            raise RuntimeError(f'The model has the NBN magnitude {own[0]!r}, but the checkpoint holds none: it is a BN '
                               f'(or folded) checkpoint, and NBN would rescale its weights ({where}). Use the config '
                               "with BN, or train from it with load_from; with nbn=dict(init_magnitude='pretrained') "
                               'the untrained network equals the loaded one and can be tested.')
        print_log("The checkpoint is of a BN network, to which NBN with init_magnitude='pretrained' is equal: the "
                  f'figures are those of BN ({where}).', 'current', 30)
        difference.missing[:] = [key for key in difference.missing if key not in own]
