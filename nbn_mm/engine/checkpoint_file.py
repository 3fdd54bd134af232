"""What tools that work on checkpoint files need: the file read with one clear error, and the network of a config."""
import re
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.checkpoint import _load_checkpoint


def read_checkpoint(path: str | PathLike) -> dict[str, Any]:
    """Read a checkpoint of mmengine, or a bare state dict, onto the CPU.

    Args:
        path (str | PathLike): The file.

    Returns:
        dict: ``state_dict`` (name to tensor, without the ``module.`` of a wrapped model) and ``meta`` (dict).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint {str(path)!r}.')
    try:
        checkpoint = _load_checkpoint(str(path), map_location='cpu', logger='silent')
        state = checkpoint.get('state_dict', checkpoint)
        state = {re.sub(r'^module\.', '', key): value for key, value in state.items() if torch.is_tensor(value)}
    except Exception as error:  # unpickling fails in as many ways as files can be damaged
        raise ValueError(f'{str(path)!r} is no checkpoint: {type(error).__name__}: {error}') from None
    if not state:
        raise ValueError(f'{str(path)!r} is no checkpoint: it holds no tensor under state_dict.')
    return dict(meta=checkpoint.get('meta') or {}, state_dict=state)


def refuse_config(out: str | PathLike, config: str | PathLike) -> None:
    """Raise if the config that is written beside a checkpoint would replace the one that is read.

    Args:
        out (str | PathLike): The checkpoint to write; its config has the ending ``.py``.
        config (str | PathLike): The config that is read.

    Raises:
        ValueError: Naming both.
    """
    beside = Path(out).with_suffix('.py')
    if beside.resolve() == Path(config).resolve():
        raise ValueError(f'out={str(out)!r}: its config would be written to {str(beside)!r}, which is the config that '
                         'is read; give another name.')


def build_model(cfg: Config) -> torch.nn.Module:
    """Build the network of a config as the Runner does: in its default scope, with its data preprocessor.

    Args:
        cfg (Config): With ``model``, and perhaps ``data_preprocessor`` and ``default_scope``. It is not changed.

    Returns:
        nn.Module: The network, uninitialised.
    """
    model_cfg = cfg.model.copy()
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        return MODELS.build(model_cfg)
