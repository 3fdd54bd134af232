"""Predictions on a folder of pictures, by the inferencer of the config's host."""
import importlib
import os
from pathlib import Path

from mmengine.config import Config
from mmengine.runner.checkpoint import _load_checkpoint
from PIL import Image

from .hooks.checkpoint_guard_hook import CheckpointGuardHook
from .launch.checks import check_checkpoint, check_file
from .launch.device_data import read_each_image
from .launch.errors import LaunchError
from .launch.evaluation_checks import check_drawn_masks

INFERENCERS = {'mmdet': ('mmdet.apis', 'DetInferencer'), 'mmpretrain': ('mmpretrain', 'ImageClassificationInferencer')}
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm')


def find_pictures(source: str | os.PathLike) -> list[str]:
    """The pictures of a folder in the order of their names, or the one picture.

    Args:
        source (str | PathLike): A folder or a picture.

    Returns:
        list[str]: Paths.

    Raises:
        LaunchError: If there is nothing at ``source``, or the folder holds no picture or a broken one.
    """
    path = Path(source)
    if not path.exists():
        raise LaunchError(f'The pictures {str(path)!r} do not exist: give a picture, or a folder of pictures.')
    found = [str(path)] if path.is_file() else sorted(
        str(p) for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise LaunchError(f'The folder {str(path)!r} holds no picture ({", ".join(SUFFIXES)}).')
    broken = [name for name in found if not _is_picture(name)]
    if broken:
        raise LaunchError(f'{len(broken)} of {len(found)} pictures cannot be read: {", ".join(broken[:5])}'
                          f'{", …" if len(broken) > 5 else ""}. Remove or replace them.')
    return found


def _is_picture(path: str) -> bool:
    """Whether a file begins as a picture does; it is not decoded."""
    try:
        with Image.open(path):
            return True
    except OSError:
        return False


def infer(config: str, checkpoint: str, pictures: str, out_dir: str, score_thr: float = 0.3, device: str | None = None,
          save_predictions: bool = False, cfg_options: dict | None = None) -> list[dict]:
    """Predict pictures and draw the predictions.

    Args:
        config (str): Path of the config.
        checkpoint (str): Path of the checkpoint, whose class names are drawn.
        pictures (str): A picture, or a folder of pictures.
        out_dir (str): Where drawn pictures go; a detector's into ``vis/``, its predictions into ``preds/``.
        score_thr (float): Detections with a lower score are not drawn. Defaults to 0.3.
        device (str, optional): ``'cuda:0'``, ``'cpu'``, …; default: a GPU if there is one.
        save_predictions (bool): Write a detector's predictions as one JSON file a picture. Defaults to False.
        cfg_options (dict, optional): Settings of the config to change.

    Returns:
        list[dict]: One prediction a picture, as the host's inferencer gives it.

    Raises:
        LaunchError: If config, checkpoint or pictures are missing, the host is neither mmdet nor mmpretrain or lacks an
            option, or the checkpoint is not of this config's network.
    """
    check_file(config, 'The config file')
    check_checkpoint(checkpoint, 'The checkpoint')
    inputs = find_pictures(pictures)
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(cfg_options or {})
    check_drawn_masks(cfg, 'infer.py')
    host = cfg.get('default_scope')
    if host not in INFERENCERS:
        raise LaunchError(f"default_scope={host!r} of {config} must be one of {tuple(INFERENCERS)}: the pictures go "
                          'through its inferencer.')
    if save_predictions and host != 'mmdet':
        raise LaunchError(f'--save-predictions belongs to mmdet, but default_scope of {config} is {host!r}.')
    module, name = INFERENCERS[host]
    inferencer_type = getattr(importlib.import_module(module), name)
    if host == 'mmpretrain':
        read_each_image(cfg.get('test_dataloader') or {}, 'infer.py')  # whose pipeline the inferencer takes
        inferencer = inferencer_type(cfg, pretrained=checkpoint, device=device)
    else:
        inferencer = inferencer_type(cfg, weights=checkpoint, device=device, show_progress=False)
    try:
        CheckpointGuardHook().check_for_test(inferencer.model, _load_checkpoint(checkpoint, map_location='cpu'),
                                             f'checkpoint {checkpoint!r}, config {config!r}')
    except RuntimeError as error:
        raise LaunchError(str(error)) from None
    if host == 'mmpretrain':
        return inferencer(inputs, show_dir=out_dir)
    return inferencer(inputs, out_dir=out_dir, pred_score_thr=score_thr,
                      no_save_pred=not save_predictions)['predictions']
