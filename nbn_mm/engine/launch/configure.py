"""Options of the tools merged into a config, as the tools of the host do it.

``--cfg-options`` are merged first for either host, so that a flag acts on the merged config and wins over them.
"""
import os
import os.path as osp
import re
from copy import deepcopy
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import find_latest_checkpoint

from .checks import (
    check_auto_scale_lr,
    check_checkpoint,
    check_class_counts,
    check_converters,
    check_file,
    check_optim_wrapper,
    check_pretrained,
)
from .detection_checks import check_box_heads
from .device_data import check_device_data, read_each_image, set_device_loader
from .errors import LaunchError
from .evaluation_checks import check_drawn_masks, check_evaluated_images, check_mask_format
from .options import check_options

GUARD = 'CheckpointGuardHook'
LAST = 'last_checkpoint'


def load_config(tool: str, path: str, options: dict[str, Any]) -> Config:
    """Read a config, check the options against its host, and merge what train and test share.

    Args:
        tool (str): ``'train'`` or ``'test'``.
        path (str): Path of the config.
        options (dict): The options that were given, by name.

    Returns:
        Config: With ``cfg_options``, ``launcher``, ``work_dir`` and the checkpoint guard.

    Raises:
        LaunchError: If the config is missing, or an option does not belong to its host.
    """
    check_file(path, 'The config file')
    cfg = Config.fromfile(path)
    if options.get('cfg_options'):
        cfg.merge_from_dict(options['cfg_options'])
    check_options(tool, cfg.get('default_scope'), options, path)
    cfg.launcher = options.get('launcher', 'none')
    check_converters(cfg, cfg.launcher)
    if options.get('work_dir') is not None:
        cfg.work_dir = options['work_dir']
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(path))[0])
    _add_guard(cfg)
    return cfg


def _add_guard(cfg: Config) -> None:
    """Add the checkpoint guard, unless the config has one; ``default_hooks.checkpoint_guard=None`` leaves it out."""
    if any(hook.get('type') == GUARD for hook in cfg.get('custom_hooks') or [] if isinstance(hook, dict)):
        return
    if cfg.get('default_hooks') is None:
        cfg.default_hooks = ConfigDict()
    cfg.default_hooks.setdefault('checkpoint_guard', ConfigDict(type=GUARD))


def configure_train(cfg: Config, options: dict[str, Any]) -> str | None:
    """Merge the options of ``tools/train.py``.

    Args:
        cfg (Config): From :func:`load_config`, changed in place.
        options (dict): The options that were given, by name.

    Returns:
        str, optional: A line for the log.

    Raises:
        LaunchError: If an option does not fit the config or the machine.
    """
    if options.get('no_validate'):
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    check_class_counts(cfg, ('model', 'val_evaluator'))
    check_box_heads(cfg, ('train_dataloader', 'val_dataloader'))
    check_device_data(cfg, ('train_dataloader', 'val_dataloader'))
    check_evaluated_images(cfg, 'val')
    check_mask_format(cfg, 'val')
    check_pretrained(cfg)
    amp = options.get('amp', False)
    check_optim_wrapper(cfg, amp)
    if amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if options.get('auto_scale_lr'):
        check_auto_scale_lr(cfg)
        cfg.auto_scale_lr.enable = True
    _set_dataloaders(cfg, options, ('train_dataloader', 'val_dataloader', 'test_dataloader'), persistent_workers=True)
    line = _set_resume(cfg, options.get('resume'))
    if cfg.get('load_from') is not None:
        check_checkpoint(cfg.load_from, f'The checkpoint of {"--resume" if cfg.get("resume") else "load_from"}')
    return line


def _set_resume(cfg: Config, resume: str | None) -> str | None:
    if resume is None:
        return None
    if resume != 'auto':
        check_file(resume, 'The checkpoint of --resume')
        cfg.resume, cfg.load_from = True, resume
        return None
    latest = find_latest_checkpoint(cfg.work_dir)
    if latest is None:
        # a first start with --resume still loads the weights that the config names
        cfg.resume = False
        return (f'--resume: {cfg.work_dir} holds no {LAST}; training starts from the beginning, '
                f'load_from={cfg.get("load_from")}')
    saved = sorted(filter(re.compile(r'(epoch|iter)_\d+\.pth$').fullmatch, os.listdir(cfg.work_dir)),
                   key=lambda name: osp.getmtime(osp.join(cfg.work_dir, name)))
    note = ''
    if not latest and saved:
        # killed while LAST was written, which mmengine does after the checkpoint itself is complete
        note, latest = f'{LAST} is empty; ', osp.join(cfg.work_dir, saved[-1])
    moved = osp.join(cfg.work_dir, osp.basename(latest))  # of a work dir that was moved
    if not osp.isfile(latest) and not osp.isfile(moved):
        raise LaunchError(f'--resume: {osp.join(cfg.work_dir, LAST)} names {latest!r}, which does not exist. '
                          f'Checkpoints in {cfg.work_dir}, oldest first: {saved}. Choose one with --resume PATH.')
    cfg.resume, cfg.load_from = True, latest if osp.isfile(latest) else moved
    return f'--resume: {note}continuing from {cfg.load_from}'


def _set_dataloaders(cfg: Config, options: dict[str, Any], names: tuple, **defaults: Any) -> None:
    """The dataloader defaults of mmpretrain's tools; mmdet's configs write their own."""
    if cfg.default_scope != 'mmpretrain':
        return
    defaults.update(pin_memory=torch.cuda.is_available(), collate_fn=dict(type='default_collate'))
    for name in names:
        loader = cfg.get(name)
        if loader is None:
            continue
        set_device_loader(loader)
        for key, value in defaults.items():
            loader.setdefault(key, deepcopy(value))
        if options.get('no_pin_memory'):
            loader.pin_memory = False
        # torch refuses persistent workers where there are no workers
        if options.get('no_persistent_workers') or not loader.get('num_workers', 0):
            loader.persistent_workers = False


def configure_test(cfg: Config, checkpoint: str, options: dict[str, Any]) -> None:
    """Merge the options of ``tools/test.py``.

    Args:
        cfg (Config): From :func:`load_config`, changed in place.
        checkpoint (str): Path or address of the checkpoint.
        options (dict): The options that were given, by name.

    Raises:
        LaunchError: If the checkpoint is missing, or an option does not fit the config.
    """
    check_file(checkpoint, 'The checkpoint')
    check_out(cfg.default_scope, options.get('out'), options.get('out_item'))
    if cfg.get('test_dataloader') is None or cfg.get('test_cfg') is None or cfg.get('test_evaluator') is None:
        raise LaunchError('Testing needs test_dataloader, test_cfg and test_evaluator in the config.')
    check_class_counts(cfg, ('test_evaluator', ))
    check_box_heads(cfg, ('test_dataloader', ))
    check_device_data(cfg, ('test_dataloader', ))
    check_evaluated_images(cfg, 'test')
    check_mask_format(cfg, 'test')
    cfg.load_from, cfg.resume = checkpoint, False
    if options.get('amp'):
        cfg.test_cfg.fp16 = True
    if options.get('show') or options.get('show_dir') is not None:
        _show(cfg, options)
    if options.get('tta'):
        _use_tta(cfg)
    _set_dataloaders(cfg, options, ('test_dataloader', ))
    check_checkpoint(checkpoint, 'The checkpoint')


def check_out(default_scope: str, out: str | None, out_item: str | None) -> None:
    """Check the file that results go to before anything is computed.

    Raises:
        LaunchError: If ``--out-item`` stands without ``--out``, or the ending of ``--out`` fits no format.
    """
    if out is None:
        if out_item is not None:
            raise LaunchError(f'--out-item {out_item} needs --out, the file to write.')
        return
    endings = ('.pkl', '.pickle') + (('.json', '.yaml', '.yml') if out_item == 'metrics' else ())
    if not out.endswith(endings):
        advice = ', or write the metrics with --out-item metrics' if default_scope == 'mmpretrain' else ''
        what = 'metrics' if out_item == 'metrics' else 'predictions'
        raise LaunchError(f'--out {out!r} must end in one of {endings} for {what}{advice}.')


def _show(cfg: Config, options: dict[str, Any]) -> None:
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise LaunchError('--show and --show-dir need the visualisation hook in the config: '
                          "default_hooks.visualization="
                          "dict(type='VisualizationHook' or, for mmdet, 'DetVisualizationHook').")
    hook.show = options.get('show', False)
    hook.wait_time = options.get('wait_time', 2.0)
    check_drawn_masks(cfg, '--show and --show-dir')
    if cfg.default_scope == 'mmpretrain':
        hook.update(enable=True, out_dir=options.get('show_dir'), interval=options.get('interval', 1))
    else:
        hook.draw = True
        if options.get('show_dir') is not None:
            hook.test_out_dir = options['show_dir']


def _merging(model: ConfigDict) -> dict[str, Any]:
    """``tta_cfg`` of mmdet's ``DetTTAModel`` for a detector."""
    if (model.get('roi_head') or {}).get('mask_head') is not None:
        raise LaunchError("--tta: mmdet's DetTTAModel merges boxes alone, and model.roi_head has a mask_head. Give a "
                          'tta_model of your own, or test without --tta.')
    test_cfg = model.get('test_cfg') or {}
    last = test_cfg.get('rcnn') or test_cfg
    return dict(nms=deepcopy(last.get('nms') or dict(type='nms', iou_threshold=0.5)),
                max_per_img=last.get('max_per_img', 100))


def _use_tta(cfg: Config) -> None:
    """Wrap the model and the pipeline for test-time augmentation; flips by default, as the hosts' tools do.

    A detector's boxes of both pictures are merged as its own test cuts them: by NMS and number of ``test_cfg.rcnn``.

    Raises:
        LaunchError: If the host can't merge the predictions.
    """
    read_each_image(cfg.test_dataloader)
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    mmpretrain = cfg.default_scope == 'mmpretrain'
    if 'tta_model' not in cfg:
        cfg.tta_model = dict(type='mmpretrain.AverageClsScoreTTA') if mmpretrain else dict(
            type='DetTTAModel', tta_cfg=_merging(cfg.model))
    if 'tta_pipeline' not in cfg:
        last = deepcopy(dataset.pipeline[-1])
        if not mmpretrain:  # merging needs to know what was flipped
            keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
            last = dict(type='PackDetInputs', meta_keys=keys)
        flips = [dict(type='RandomFlip', prob=prob) for prob in (1., 0.)]
        cfg.tta_pipeline = deepcopy(dataset.pipeline[:-1]) + [dict(type='TestTimeAug', transforms=[flips, [last]])]
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline
