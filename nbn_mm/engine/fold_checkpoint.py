"""Folding a checkpoint file: the library call behind ``tools/model_converters/fold_nbn.py``."""
from pathlib import Path

import torch
from mmengine.config import Config

from ..models.placement import FoldReport, fold, fold_model_config
from .checkpoint_file import build_model, read_checkpoint, refuse_config

PACKAGE = __name__.split('.')[0]
SHOWN, LONGEST = 3, 300  # reasons of a failed loading, and their characters


def fold_checkpoint(config: str, checkpoint: str, out: str) -> FoldReport:
    """Fold a trained checkpoint and write it with the config of the plain network.

    With an ``EMAHook`` the checkpoint's ``state_dict`` already is the averaged one, so that is what is folded.

    Args:
        config (str): Config of the trained network.
        checkpoint (str): Checkpoint to fold.
        out (str): File to write: ``state_dict`` of the plain network and the ``meta`` of the checkpoint (so that the
            class counts stay with it). The plain model's config goes beside it, with the ending ``.py``.

    Returns:
        FoldReport: What was folded and what still needs this package.

    Raises:
        ValueError: If ``out`` does not end in .pth or is the input, or if the checkpoint is not one of the config's
            model.
    """
    target = Path(out)
    if target.suffix != '.pth':
        raise ValueError(f'out={out!r} must end in .pth; the config is written beside it with the ending .py.')
    if target.resolve() == Path(checkpoint).resolve():
        raise ValueError(f'out={out!r} is the checkpoint itself; give another name.')
    refuse_config(out, config)
    cfg = Config.fromfile(config)
    loaded = read_checkpoint(checkpoint)
    model = build_model(cfg)
    try:
        model.load_state_dict(loaded['state_dict'])
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reasons = ' '.join(line if len(line) < LONGEST else f'{line[:LONGEST]} …' for line in lines[1:SHOWN + 1])
        more = f' (and {len(lines) - 1 - SHOWN} more)' if len(lines) - 1 > SHOWN else ''
        raise ValueError(f'checkpoint={checkpoint!r} is not one of the model in config={config!r}: '
                         f'{reasons}{more}') from None
    folded, report = fold(model)

    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=loaded['meta'], state_dict=folded.state_dict()), target)
    plain = dict(default_scope=cfg.get('default_scope'), model=fold_model_config(cfg.model.to_dict()))
    if 'data_preprocessor' in cfg:
        plain['data_preprocessor'] = fold_model_config(cfg.data_preprocessor.to_dict())
    imports = dict(cfg.get('custom_imports') or {})
    names = imports.get('imports') or []
    names = [name for name in ([names] if isinstance(names, str) else names) if name != PACKAGE or report.remaining]
    if report.remaining and PACKAGE not in names:
        names.append(PACKAGE)
    if names:
        plain['custom_imports'] = dict(imports, imports=names)
    Config(plain).dump(target.with_suffix('.py'))
    return report
