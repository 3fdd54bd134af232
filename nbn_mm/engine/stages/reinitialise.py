"""Modules that start again, from the seed of the run."""
import copy
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.hooks import EMAHook
from mmengine.registry import MODELS
from torch import nn

from ..hooks.class_counts_hook import ClassCountsHook


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the generators of Python, NumPy and torch (CPU) start at ``seed``; afterwards they are as before."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _without_pretrained(init_cfg: Any) -> Any:
    if isinstance(init_cfg, (list, tuple)):
        return [part for part in init_cfg if part.get('type') != 'Pretrained'] or None
    return None if init_cfg is not None and init_cfg.get('type') == 'Pretrained' else init_cfg


def fresh_model(cfg: Any, seed: int) -> nn.Module:
    """The model as a run with this seed begins with it, on the CPU; pretrained weights are left out.

    Args:
        cfg (Config): Config of the run, with ``model``.
        seed (int): The seed.
    """
    model_cfg = copy.deepcopy(cfg['model'])
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', copy.deepcopy(cfg['data_preprocessor']))
    with seeded(seed):
        model = MODELS.build(model_cfg)
        for module in model.modules():
            if getattr(module, 'init_cfg', None) is not None:
                module.init_cfg = _without_pretrained(module.init_cfg)
        if hasattr(model, 'init_weights'):
            model.init_weights()
    return model


@torch.no_grad()
def reinitialise(runner: Any, model: nn.Module, names: Iterable[str], seed: int) -> None:
    """Give modules the parameters and buffers that a run with this seed begins with, and forget their momenta.

    Buffers that follow from the class counts (weights of IIF) are computed anew, as where a run begins.

    Args:
        runner (Runner): Its config builds the fresh model; the state of its optimiser is dropped for them.
        model (nn.Module): The model, not wrapped.
        names (Iterable[str]): Names of the modules.
        seed (int): Equal on all ranks.
    """
    fresh = fresh_model(runner.cfg, seed)
    wrappers = runner.optim_wrapper
    wrappers = list(wrappers.values()) if hasattr(wrappers, 'values') else [wrappers]
    for name in names:
        module, source = model.get_submodule(name), fresh.get_submodule(name)
        for kind in ('named_parameters', 'named_buffers'):
            values = dict(getattr(source, kind)())
            for key, tensor in getattr(module, kind)():
                tensor.copy_(values[key])
        for hook in runner.hooks:
            if isinstance(hook, ClassCountsHook) and hook.record is not None:
                for part in module.modules():
                    if hasattr(part, 'set_class_counts'):
                        part.set_class_counts(hook.record)
        for parameter in module.parameters():
            parameter.grad = None
            for wrapper in wrappers:
                wrapper.optimizer.state.pop(parameter, None)


@torch.no_grad()
def restart_averages(runner: Any, model: nn.Module, names: set[str], modules: Iterable[str]) -> None:
    """Let the averages of ``EMAHook`` begin anew from the values that parameters and buffers have now.

    Args:
        runner (Runner): With its hooks.
        model (nn.Module): The model, not wrapped.
        names (set[str]): Names of the parameters.
        modules (Iterable[str]): Names of modules whose buffers, of statistics for one, begin anew, too; those averages
            are kept by ``EMAHook(update_buffers=True)`` alone.
    """
    prefixes = tuple(f'{module}.' for module in modules)
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            averaged = dict(hook.ema_model.module.named_parameters())
            for name, parameter in model.named_parameters():
                if name in names:
                    averaged[name].copy_(parameter)
            averaged = dict(hook.ema_model.module.named_buffers())
            for name, buffer in model.named_buffers():
                if name.startswith(prefixes):
                    averaged[name].copy_(buffer)
