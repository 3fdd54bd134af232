"""The options of a stage, and what holds after several of them have begun."""
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

NORM_POLICIES = ('train', 'frozen', 'shifted', 'magnitude')
_EVENTS = ('begin', 'by_epoch', 'reinit', 'needs_checkpoint')
_LASTING = ('sampler', 'freeze', 'train', 'norm', 'set', 'reweight')
KEYS = (*_EVENTS, *_LASTING)


@dataclass(frozen=True)
class Stage:
    """One stage of a training, as the config gives it.

    Args:
        begin (int): Epoch or iteration from which on it holds, counted from 0.
        by_epoch (bool): Whether ``begin`` is an epoch.
        given (dict): The lasting keys that the config gives: ``sampler``, ``freeze``, ``train``, ``norm``, ``set``,
            ``reweight``.
        reinit (tuple[str]): Modules to re-initialise when it begins.
        needs_checkpoint (bool): Whether the run must have loaded a checkpoint.
    """
    begin: int
    by_epoch: bool
    given: dict[str, Any]
    reinit: tuple[str, ...] = ()
    needs_checkpoint: bool = False


@dataclass(frozen=True)
class State:
    """What holds once some stages have begun; the later stage wins.

    Args:
        sampler (dict, optional): Config of the sampler; None: that of ``train_dataloader``.
        sampler_begin (int, optional): ``begin`` of the stage that gave the sampler; None: none did.
        freeze, train (tuple[str]): Regular expressions of parameter names.
        norm (str): Policy of batch norm.
        set (dict): Dotted path → value.
        reweight (bool, optional): What parts with ``set_reweighting`` are told; None: nothing.
        reinit (tuple[str]): Modules that were re-initialised.
    """
    sampler: dict | None = None
    sampler_begin: int | None = None
    freeze: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    norm: str = 'train'
    set: dict[str, Any] = field(default_factory=dict)
    reweight: bool | None = None
    reinit: tuple[str, ...] = ()


def _error(index: int, key: str, value: Any, what: str) -> ValueError:
    return ValueError(f'StageHook: stages[{index}].{key}={value!r} {what}.')


def _names(index: int, key: str, value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
        raise _error(index, key, value, f'must be a list of {what}')
    return tuple(value)


def _patterns(index: int, key: str, value: Any) -> tuple[str, ...]:
    patterns = _names(index, key, value, 'regular expressions of parameter names')
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise _error(index, key, pattern, f'is no regular expression: {error}') from None
    return patterns


def _flag(index: int, key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _error(index, key, value, 'must be True or False')
    return value


def parse_stage(index: int, cfg: Any) -> Stage:
    """Check one entry of ``stages``.

    Args:
        index (int): Its place in the list, for the errors.
        cfg (dict): The entry.

    Raises:
        ValueError: With the bad value and its key.
    """
    if not isinstance(cfg, dict):
        raise ValueError(f'StageHook: stages[{index}]={cfg!r} must be a dict with keys among {KEYS}.')
    unknown = [key for key in cfg if key not in KEYS]
    if unknown:
        raise _error(index, unknown[0], cfg[unknown[0]], f'is unknown; the keys are {KEYS}')
    begin = cfg.get('begin')
    if isinstance(begin, bool) or not isinstance(begin, int) or begin < 0:
        raise _error(index, 'begin', begin, 'must be an epoch (or, with by_epoch=False, an iteration) from 0 on')
    given: dict[str, Any] = {}
    for key in _LASTING:
        if key not in cfg:
            continue
        value = cfg[key]
        if key == 'sampler' and not (value is None or isinstance(value, dict) and 'type' in value):
            raise _error(index, key, value, 'must be the config of a sampler, or None for that of train_dataloader')
        if key == 'norm' and value not in NORM_POLICIES:
            raise _error(index, key, value, f'must be one of {NORM_POLICIES}')
        if key == 'set' and not (isinstance(value, dict) and all(isinstance(path, str) for path in value)):
            raise _error(index, key, value, "must be a dict of dotted paths, as in {'model.head.loss_module.s': 30}")
        if key in ('freeze', 'train'):
            value = _patterns(index, key, value)
        given[key] = _flag(index, key, value) if key == 'reweight' else value
    reinit = _names(index, 'reinit', cfg.get('reinit', ()), "names of modules, as in ['head.fc']")
    if not given and not reinit:
        raise ValueError(f'StageHook: stages[{index}]={dict(cfg)!r} changes nothing; give one of '
                         f'{(*_LASTING, "reinit")}.')
    if given.get('train') and not given.get('freeze') and given.get('norm', 'train') == 'train':
        raise _error(index, 'train', list(given['train']), 'names exceptions of `freeze` and of `norm`, and this stage '
                     'gives neither')
    needs = cfg.get('needs_checkpoint')
    needs = begin == 0 and bool(given.get('freeze')) if needs is None else _flag(index, 'needs_checkpoint', needs)
    return Stage(begin, _flag(index, 'by_epoch', cfg.get('by_epoch', True)), given, reinit, needs)


def parse_stages(stages: Any) -> tuple[Stage, ...]:
    """Check ``stages`` of the hook.

    Args:
        stages (list[dict]): The entries, in the order of ``begin``.

    Raises:
        ValueError: If an entry is wrong, they don't ascend, or some count epochs and others iterations.
    """
    if not isinstance(stages, Sequence) or isinstance(stages, str) or not stages:
        raise ValueError(f'StageHook: stages={stages!r} must be a list of dicts, one a stage.')
    parsed = tuple(parse_stage(index, cfg) for index, cfg in enumerate(stages))
    for index in range(1, len(parsed)):
        if parsed[index].by_epoch != parsed[0].by_epoch:
            raise _error(index, 'by_epoch', parsed[index].by_epoch, 'differs from that of stages[0]; count all in '
                         'epochs or all in iterations')
        if parsed[index].begin <= parsed[index - 1].begin:
            raise _error(index, 'begin', parsed[index].begin, f'must be above that of the stage before it, '
                         f'{parsed[index - 1].begin}')
    return parsed


def state_after(stages: Sequence[Stage]) -> State:
    """What holds when these stages have begun: of each key the value that was given last.

    The entries of ``set`` are kept by path, and the modules of ``reinit`` are collected.
    """
    values: dict[str, Any] = {}
    for stage in stages:
        changes = dict(stage.given)
        if 'sampler' in changes:
            values['sampler_begin'] = stage.begin
        values['set'] = {**values.get('set', {}), **changes.pop('set', {})}
        values['reinit'] = tuple(dict.fromkeys((*values.get('reinit', ()), *stage.reinit)))
        values.update(changes)
    return State(**values)
