"""Which parameters learn in a stage, and what follows for the optimiser and for several processes."""
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mmengine.dist import broadcast
from mmengine.model import is_model_wrapper
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .norm_policy import magnitude_names, norm_parameter_names
from .stage import State


def _matching(names: Iterable[str], patterns: Sequence[str], field: str, among: str) -> set[str]:
    """The names that one of the patterns matches; each must match one."""
    names = list(names)
    found: set[str] = set()
    for pattern in patterns:
        hits = {name for name in names if re.search(pattern, name)}
        if not hits:
            shown = ', '.join(names[:3] + names[-3:] if len(names) > 6 else names)
            raise ValueError(f'StageHook: {field}: {pattern!r} matches none of the {among}, such as {shown}.')
        found |= hits
    return found


def learnable_names(model: nn.Module, initially: Iterable[str], state: State) -> set[str]:
    """Names of the parameters that learn under a state.

    Args:
        model (nn.Module): The model, not wrapped.
        initially (Iterable[str]): Names of those that learn without any stage.
        state (State): What the stages say.

    Raises:
        ValueError: If a pattern matches nothing, ``norm='magnitude'`` finds no magnitude, or nothing is left to learn.
    """
    initially = list(initially)
    frozen = _matching(initially, state.freeze, 'freeze', 'learnable parameters')
    if state.norm != 'train':
        frozen |= norm_parameter_names(model, state.reinit)
    if state.norm == 'magnitude':
        magnitudes = magnitude_names(model) & set(initially)
        if not magnitudes:
            raise ValueError("StageHook: norm='magnitude' lets NBN's magnitude learn, but the model has no learnable "
                             "one. Use norm='frozen', or a backbone with NBN.")
        frozen -= magnitudes
    if state.train:
        frozen -= _matching([name for name in initially if name in frozen], state.train, 'train', 'frozen parameters')
    learnable = set(initially) - frozen
    if not learnable:
        raise ValueError(f'StageHook: freeze={list(state.freeze)} and norm={state.norm!r} leave no parameter to learn.')
    return learnable


def set_learnable(model: nn.Module, names: set[str]) -> bool:
    """Let the named parameters learn and no other.

    Frozen parameters lose their gradient, too: an optimiser then leaves them out, momentum and weight decay included.

    Returns:
        bool: Whether anything changed.
    """
    changed = False
    for name, parameter in model.named_parameters():
        learns = name in names
        changed |= parameter.requires_grad != learns
        parameter.requires_grad_(learns)
        if not learns:
            parameter.grad = None
    return changed


def check_wrapper(model: nn.Module) -> None:
    """Raise if freezing does not go with the wrapper of the model.

    Raises:
        ValueError: If it is no DistributedDataParallel.
    """
    if is_model_wrapper(model) and not isinstance(model, DistributedDataParallel):
        raise ValueError(f'StageHook: `freeze` and `norm` are known to work with MMDistributedDataParallel, not with '
                         f'model_wrapper_cfg.type={type(model).__name__!r}.')


def wrap_anew(runner: Any) -> None:
    """Wrap the model of several processes anew, and bring all ranks to the buffers of rank 0.

    DistributedDataParallel waits in each step for the gradients of all parameters that learned when it was made, so a
    parameter that is frozen later would stop the run. Statistics that batch norm took from a rank's own images would
    let frozen layers differ from rank to rank, and from a resumed run, which has those of rank 0 everywhere.
    """
    if not is_model_wrapper(runner.model):
        return
    module = runner.model.module
    runner.model = module  # the reducer of the old wrapper goes before the new one comes
    for buffer in module.buffers():
        broadcast(buffer)
    runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), module)
    if runner.cfg.get('compile'):
        runner._maybe_compile('train_step')
