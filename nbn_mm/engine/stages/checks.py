"""Checks of stages against the run, before its first step."""
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from ..hooks.recompute_statistics_hook import RecomputeStatisticsHook
from .attributes import resolve
from .freezing import check_wrapper, learnable_names
from .sampler_switch import is_epoch_loop
from .stage import Stage, State


def reweighted(model: nn.Module) -> list[nn.Module]:
    """The parts of a model that can be told to re-weight."""
    return [module for module in model.modules() if hasattr(module, 'set_reweighting')]


def check_units(stages: Sequence[Stage], loop: Any) -> None:
    """Check that the stages count as the loop does and begin within the run.

    Raises:
        ValueError: With the stage and its ``begin``.
    """
    by_epoch, epochs = stages[0].by_epoch, is_epoch_loop(loop)
    if by_epoch and not epochs:
        raise ValueError(f'StageHook: by_epoch=True, but {type(loop).__name__} counts iterations. Set by_epoch=False '
                         'and `begin` to iterations.')
    end, field = (loop.max_epochs, 'max_epochs') if by_epoch else (loop.max_iters, 'max_iters')
    for index, stage in enumerate(stages):
        if stage.begin >= end:
            raise ValueError(f'StageHook: stages[{index}].begin={stage.begin} is never reached: the run ends at '
                             f'{field}={end}. Change `begin` or train_cfg.')
        if epochs and not by_epoch and 'sampler' in stage.given:
            raise ValueError(f'StageHook: stages[{index}] changes the sampler at an iteration, but '
                             f'{type(loop).__name__} takes a sampler for whole epochs. Use by_epoch=True.')


def check_loaded(stages: Sequence[Stage], loaded: bool) -> None:
    """Check that a checkpoint is there if a stage needs one.

    Raises:
        RuntimeError: If it is not.
    """
    for index, stage in enumerate(stages):
        if stage.needs_checkpoint and not loaded:
            raise RuntimeError(
                f'StageHook: stages[{index}] (begin={stage.begin}) needs the network of the stage before, but no '
                'checkpoint was loaded. Give `load_from`, for example --cfg-options '
                'load_from=work_dirs/NAME/epoch_90.pth, or resume; needs_checkpoint=False in the stage goes without.')


def check_state(runner: Any, model: nn.Module, initially: Iterable[str], state: State, roots: dict[str, Any]) -> None:
    """Check what holds in a stage against the model and the hooks of the run.

    Args:
        runner (Runner): The run.
        model (nn.Module): The model, not wrapped.
        initially (Iterable[str]): Names of the parameters that learn without any stage.
        state (State): What holds.
        roots (dict): Where the paths of ``set`` begin.

    Raises:
        ValueError: With the key and the value to change.
    """
    if state.freeze or state.norm != 'train':
        check_wrapper(runner.model)
    learnable_names(model, initially, state)
    if state.reweight is not None and not reweighted(model):
        raise ValueError('StageHook: reweight: no part of the model has set_reweighting. Use a loss that has it in '
                         '`head.loss` (LDAM, class-balanced), or remove `reweight`.')
    for path in state.set:
        resolve(roots, path)
    if state.norm in ('frozen', 'magnitude') and any(
            isinstance(hook, RecomputeStatisticsHook) and hook.batch_norm for hook in runner.hooks):
        raise ValueError(f'StageHook: norm={state.norm!r} keeps the statistics of batch norm, and '
                         'RecomputeStatisticsHook(batch_norm=True) replaces them. Remove one of the two.')


def check_modules(runner: Any, model: nn.Module, names: Sequence[str], index: int) -> None:
    """Check the modules that a stage re-initialises.

    Raises:
        ValueError: If one is unknown, or the config has no model to build them from.
    """
    known = [key for key, _ in model.named_modules() if key]
    for name in names:
        if name not in known:
            raise ValueError(f'StageHook: stages[{index}].reinit: {name!r} is no module of the model; its last ones '
                             f'are {known[-3:]}.')
    if names and runner.cfg.get('model') is None:
        raise ValueError(f'StageHook: stages[{index}].reinit={list(names)!r} builds the modules anew, but the config '
                         'has no `model`.')
