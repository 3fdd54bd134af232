"""Checks of a config that end in one clear error before anything is built."""
import os.path as osp
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import METRICS, MODELS

from ..checkpoint_file import read_checkpoint
from .errors import LaunchError

NBN_TYPES = ('NBN', 'NBNBackbone')
COUNTS_HOOK = 'ClassCountsHook'


def check_file(path: str, what: str) -> None:
    """Raise an error when a local file is missing; addresses such as ``https://…`` or ``torchvision://…`` pass.

    Args:
        path (str): Path or address.
        what (str): What it is, and the option or config field that names it.

    Raises:
        LaunchError: If the path is no file.
    """
    if '://' in str(path):
        return
    if not osp.isfile(osp.expanduser(path)):
        reason = 'is a directory' if osp.isdir(osp.expanduser(path)) else 'does not exist'
        raise LaunchError(f'{what} {path!r} {reason}.')


def check_checkpoint(path: str, what: str) -> None:
    """Raise an error when a local file is missing or is no checkpoint; it is read once here and again by the Runner.

    Args:
        path (str): Path or address.
        what (str): What it is, and the option or config field that names it.

    Raises:
        LaunchError: If the path is no file, or the file no checkpoint.
    """
    check_file(path, what)
    if '://' not in str(path):
        try:
            read_checkpoint(osp.expanduser(path))
        except ValueError as error:
            raise LaunchError(f'{what} cannot be used: {error}') from None


def pretrained_weights(cfg: Config) -> dict[str, str]:
    """The config fields that name weights to start from, with their files or addresses."""
    found = {f'{field}.checkpoint': part['checkpoint'] for field, kind, part in _parts(cfg.get('model'), 'model')
             if kind == 'Pretrained' and isinstance(part.get('checkpoint'), str)}
    return {**found, 'load_from': cfg.load_from} if cfg.get('load_from') is not None else found


def check_pretrained(cfg: Config) -> None:
    """Raise an error when a local file of the model's pretrained weights (``init_cfg``) or of its teacher is missing.

    Raises:
        LaunchError: If it is no file.
    """
    for field, path in pretrained_weights(cfg).items():
        if field != 'load_from':
            check_file(path, field)
    teacher = (cfg.get('model') or {}).get('teacher')
    if isinstance(teacher, dict):
        for key in ('config', 'checkpoint'):
            if isinstance(teacher.get(key), str):
                check_file(teacher[key], f'model.teacher.{key}')


def _parts(node: Any, field: str = '') -> Iterator[tuple[str, str, dict]]:
    """Field, ``type`` without its scope, and config of every part in nested dicts and lists."""
    if isinstance(node, dict):
        kind = node.get('type')
        if kind is not None:
            yield field, kind.split('.')[-1] if isinstance(kind, str) else getattr(kind, '__name__', str(kind)), node
        for key, value in node.items():
            yield from _parts(value, f'{field}.{key}' if field else str(key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _parts(value, f'{field}[{index}]')


def _types(node: Any) -> Iterator[str]:
    """Every ``type`` in nested dicts and lists, without its scope."""
    return (kind for _, kind, _ in _parts(node))


def check_class_counts(cfg: Config, fields: Iterable[str]) -> None:
    """Raise an error when a loss or a metric needs class counts and nothing in the config gives them.

    Args:
        cfg (Config): The config of the run.
        fields (Iterable[str]): The top-level fields in use: ``'model'``, ``'val_evaluator'``, ….

    Raises:
        LaunchError: If such a part has no ``class_counts`` of its own and the config no ``ClassCountsHook``.
    """
    if COUNTS_HOOK in _types([list((cfg.get('default_hooks') or {}).values()), cfg.get('custom_hooks') or []]):
        return
    for top in fields:
        registry = MODELS if top == 'model' else METRICS
        for field, kind, part in _parts(cfg.get(top), top):
            if hasattr(registry.get(kind), 'set_class_counts') and part.get('class_counts') is None:
                raise LaunchError(f"{kind} in {field} needs the class counts of the training set. Add default_hooks = "
                                  f"dict(class_counts=dict(type='{COUNTS_HOOK}')) to the config, which counts them, or "
                                  f'set {field}.class_counts to a list or a JSON file.')


def check_converters(cfg: Config, launcher: str) -> None:
    """Refuse the converters of the Runner that know nothing of NBN, and ``sync_bn`` on a CPU, where it has no kernel.

    Raises:
        LaunchError: If the config holds NBN and ``sync_bn`` or ``efficient_conv_bn_eval``, or ``sync_bn`` for several
            processes on a CPU.
    """
    sync_bn = cfg.get('sync_bn')
    found = sorted(set(_types(cfg.get('model'))) & set(NBN_TYPES))
    if found and cfg.get('efficient_conv_bn_eval'):
        raise LaunchError(f'efficient_conv_bn_eval={cfg.efficient_conv_bn_eval!r} traces BN layers and knows nothing '
                          f'of NBN, but the model holds {found}. Remove it; a network for inference is folded by '
                          'tools/model_converters/fold_nbn.py.')
    if sync_bn is None:
        return
    if found:
        raise LaunchError(f'sync_bn={sync_bn!r} converts BN layers and knows nothing of NBN, but the model holds '
                          f'{found}. Remove sync_bn and write nbn=dict(sync=True) in the backbone (or sync=True in '
                          "norm_cfg=dict(type='NBN')): statistics over all ranks, for NBN and for the backbone's BN.")
    if launcher != 'none' and get_device() == 'cpu':
        raise LaunchError(f"sync_bn={sync_bn!r} has no CPU kernel. Use norm_cfg=dict(type='AllReduceBN'), which runs "
                          'over gloo, or remove sync_bn.')


def check_optim_wrapper(cfg: Config, amp: bool) -> None:
    """Check that mixed-precision training can run here.

    Args:
        cfg (Config): The config of the run.
        amp (bool): Whether ``--amp`` was given.

    Raises:
        LaunchError: If the config has no ``optim_wrapper`` of mmengine's two kinds for ``--amp``, or AMP is asked for
            on a machine without an accelerator.
    """
    kind = next(_types({'type': (cfg.get('optim_wrapper') or {}).get('type', 'OptimWrapper')}))
    if amp and cfg.get('optim_wrapper') is None:
        raise LaunchError('--amp needs an optim_wrapper in the config.')
    if amp and kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise LaunchError(f'--amp would replace optim_wrapper.type={kind!r} by AmpOptimWrapper: leave out --amp, or '
                          "set optim_wrapper.type='OptimWrapper'.")
    if (amp or kind == 'AmpOptimWrapper') and get_device() == 'cpu':
        asked = '--amp' if amp else "optim_wrapper.type='AmpOptimWrapper'"
        raise LaunchError(f"{asked} needs a GPU: mmengine's AmpOptimWrapper scales the loss on accelerators only, and "
                          "none is visible. Train in float32 on the CPU (optim_wrapper.type='OptimWrapper').")


def check_auto_scale_lr(cfg: Config) -> None:
    """Raise an error when the config does not say for which batch its learning rate was chosen.

    Raises:
        LaunchError: If ``auto_scale_lr.base_batch_size`` is missing.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise LaunchError('--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=…) in the config: the total batch '
                          'for which its learning rate was chosen.')
