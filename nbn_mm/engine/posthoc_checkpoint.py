"""Post-hoc calibration written into a checkpoint: the library call behind ``posthoc_checkpoint.py``."""
import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from ..datasets.class_counts import ClassCounts, count_classes
from ..evaluation.functional.posthoc import LogitMoments
from ..evaluation.functional.posthoc_methods import PosthocFacts, posthoc_map, posthoc_name
from .checkpoint_file import build_model, read_checkpoint, refuse_config
from .linear_classifier import box_heads, effective_linear
from .posthoc_statistics import proposal_logit_moments
from .save_logits import save_logits

KEY = 'posthoc'
RECOMPUTATION = 'RecomputeStatisticsHook'


@dataclass
class _Classifier:
    """A predictor of a model: its name in the state dict, the config of its head and the field there, its classes."""
    name: str
    module: nn.Module
    num_classes: int
    head: ConfigDict
    field: str | None


def posthoc_checkpoint(config: str, checkpoint: str, out: str, method: str, tau: float | None = None,
                       keep_bias: bool = False, iif: str = 'raw', num_batches: int | None = None,
                       work_dir: str | None = None) -> str:
    """Calibrate the classifier of a trained checkpoint and write it, with its config.

    A linear classifier (logit rectification behind it included) becomes another linear classifier: exact, and nothing
    new is needed at test. One that is not linear in its input (a normalised classifier) keeps its weights and gets the
    child ``logit_affine`` of ``CalibratedPredictor``. In a detector each box head is calibrated; its columns behind the
    classes (background, Seesaw's objectness) stay as they are. Several experts are calibrated alike, which is to
    calibrate the mean of their logits (by its own statistics); tau-normalisation takes the weights of each.
    ``RecomputeStatisticsHook`` is left out, here and in the config that is written: the network is that of the
    checkpoint, and a ``best_*.pth`` holds the statistics that the hook had computed.

    Args:
        config (str): Config of the trained network.
        checkpoint (str): Checkpoint to calibrate.
        out (str): File to write, ``.pth``; the config goes beside it, with the ending ``.py``.
        method (str): ``'logit_adjustment'``, ``'logn'``, ``'tau_norm'`` or ``'iif'``.
        tau (float, optional): Of logit adjustment and tau-normalisation; their default is 1.
        keep_bias (bool): Of tau-normalisation. Defaults to False.
        iif (str): ``'raw'`` or ``'smooth'``. Defaults to ``'raw'``.
        num_batches (int, optional): Batches of training for LogN of a detector; None: all. Defaults to None.
        work_dir (str, optional): Folder of the log of the pass over the training set; default: the config's.

    Returns:
        str: What was done, one line a classifier.

    Raises:
        ValueError: If ``out`` is unfit, the checkpoint doesn't fit the config or is calibrated already, the classifier
            is none that can be calibrated, or the method lacks something.
        LaunchError: If the pass over the training set can't start.
    """
    target = Path(out)
    if target.suffix != '.pth' or target.resolve() == Path(checkpoint).resolve():
        raise ValueError(f'out={out!r} must end in .pth and be another file than the checkpoint; the config is written '
                         'beside it with the ending .py.')
    refuse_config(out, config)
    cfg, loaded = Config.fromfile(config), read_checkpoint(checkpoint)
    if KEY in loaded['meta']:
        raise ValueError(f"{checkpoint!r} was calibrated already, by {loaded['meta'][KEY]}. Start from the trained "
                         'one.')
    model = build_model(cfg)
    try:
        model.load_state_dict(loaded['state_dict'])
    except RuntimeError as error:
        raise ValueError(f'{checkpoint!r} is no checkpoint of the model in {config!r}: '
                         f'{" ".join(str(error).split())[:300]}') from None
    classifiers = _classifiers(model, cfg.model)
    record = _class_counts(cfg, loaded['meta'])
    options = dict(cfg_options=_without_recomputation(cfg))
    if work_dir is not None:
        options['work_dir'] = work_dir
    moments: list[Any] = [None] * len(classifiers)
    if method == 'logn':
        if box_heads(model):
            moments = proposal_logit_moments(config, checkpoint, record, num_batches, options=options)
        else:
            saved = save_logits(config, checkpoint, 'train', **options)
            ensemble = LogitMoments()
            ensemble.update(torch.from_numpy(saved.logits))
            moments = [ensemble] * len(classifiers)
    state, lines = dict(loaded['state_dict']), []
    for classifier, found in zip(classifiers, moments, strict=True):
        lines.append(_calibrate(classifier, state, record, found, method, tau, keep_bias, iif))
    meta = dict(loaded['meta'], **{KEY: posthoc_name(method, tau, keep_bias, iif)})
    if 'cfg' in meta:
        meta['cfg'] = cfg.pretty_text
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=meta, state_dict=state), target)
    cfg.dump(target.with_suffix('.py'))
    return '\n'.join(lines)


def _without_recomputation(cfg: Config) -> dict[str, Any]:
    """Take ``RecomputeStatisticsHook`` out of a config: calibrated is the network of the checkpoint, as it is.

    Returns:
        dict: The settings that take it out of the same config elsewhere.
    """
    options: dict[str, Any] = {}
    hooks = cfg.get('custom_hooks') or []
    kept = [hook for hook in hooks if hook.get('type') != RECOMPUTATION]
    if len(kept) < len(hooks):
        cfg.custom_hooks = options['custom_hooks'] = kept
    for name, hook in list((cfg.get('default_hooks') or {}).items()):
        if hook is not None and hook.get('type') == RECOMPUTATION:
            options[f'default_hooks.{name}.at_test'] = False  # the host refuses None for hooks of this name
            cfg.default_hooks.pop(name)
    return options


def _calibrate(classifier: _Classifier, state: dict, record: ClassCounts, moments: LogitMoments | None, method: str,
               tau: float | None, keep_bias: bool, iif: str) -> str:
    """Change the state dict and the head's config in place, and say what was done."""
    classes, module = classifier.num_classes, classifier.module
    like = state.get(f'{classifier.name}.weight')
    if like is None or like.dim() != 2:
        raise ValueError(f'{classifier.name} is a {type(module).__name__} without a weight (C, D) of its own; it '
                         'cannot be calibrated.')
    if hasattr(module, 'logit_affine'):
        raise ValueError(f'{classifier.name} is a CalibratedPredictor already. Start from the trained checkpoint.')
    if record.num_classes != classes:
        raise ValueError(f'{classifier.name} has {classes} classes, the class counts have {record.num_classes}.')
    linear = effective_linear(module, like.shape[1])
    facts = PosthocFacts(record.images)
    if linear is not None:
        facts.weight, facts.bias = (part[:classes] for part in linear)
    if moments is not None:
        facts.mean, facts.std = moments.mean[:classes], moments.std[:classes]
    outputs = len(like)
    affine = posthoc_map(method, facts, tau, keep_bias, iif).with_columns(outputs - classes)
    order = ' No ranking changes.' if affine.keeps_order and outputs == classes else ''
    if linear is not None:
        weight, bias = linear
        for key in [key for key in state if key.startswith(f'{classifier.name}.')]:
            del state[key]
        state[f'{classifier.name}.weight'] = (weight * affine.scale[:, None]).to(like)
        state[f'{classifier.name}.bias'] = (bias * affine.scale + affine.shift).to(like)
        if classifier.field is not None:
            classifier.head[classifier.field] = ConfigDict(type='Linear')
        return f'{classifier.name}: {method} is now part of its weight and bias.{order}'
    if classifier.field is None:
        raise ValueError(f'{classifier.name} of {classifier.head.type} is not linear in its input, and the head has no '
                         'option for another predictor.')
    state[f'{classifier.name}.logit_affine.scale'] = affine.scale.to(like)
    state[f'{classifier.name}.logit_affine.shift'] = affine.shift.to(like)
    predictor = classifier.head[classifier.field]
    if predictor.type != 'CalibratedPredictor':  # of several experts the first has done it
        classifier.head[classifier.field] = ConfigDict(type='CalibratedPredictor', predictor=copy.deepcopy(predictor))
    return f'{classifier.name}: {method} stands behind it, as the buffers of logit_affine.{order}'


def _classifiers(model: nn.Module, cfg: ConfigDict) -> list[_Classifier]:
    """The predictors of a classifier or a two-stage detector."""
    boxes = box_heads(model)
    if boxes:
        if isinstance(model.roi_head.bbox_head, nn.ModuleList) and isinstance(cfg.roi_head.bbox_head, dict):
            cfg.roi_head.bbox_head = [copy.deepcopy(cfg.roi_head.bbox_head) for _ in boxes]
        head_cfgs = cfg.roi_head.bbox_head
        head_cfgs = [head_cfgs] if isinstance(head_cfgs, dict) else head_cfgs
        for (name, head), head_cfg in zip(boxes, head_cfgs, strict=True):
            if not isinstance(getattr(head, 'fc_cls', None), nn.Module):
                raise ValueError(f'model.{name}.type={head_cfg.type!r} has no classifier fc_cls that could be '
                                 'calibrated.')
            head_cfg.setdefault('cls_predictor_cfg', ConfigDict(type='Linear'))
        return [_Classifier(f'{name}.fc_cls', head.fc_cls, head.num_classes, head_cfg, 'cls_predictor_cfg')
                for (name, head), head_cfg in zip(boxes, head_cfgs, strict=True)]
    head = getattr(model, 'head', None)
    if isinstance(getattr(head, 'experts', None), nn.ModuleList):
        cfg.head.setdefault('predictor', ConfigDict(type='Linear'))
        return [_Classifier(f'head.experts.{k}.fc', expert['fc'], head.num_classes, cfg.head, 'predictor')
                for k, expert in enumerate(head.experts)]
    if not isinstance(getattr(head, 'fc', None), nn.Module) or not hasattr(head, 'num_classes'):
        kind = (cfg.get('head') or {}).get('type')
        raise ValueError(f'model.head.type={kind!r} has no one classifier fc that could be calibrated.')
    field = None if type(head).__name__ == 'LinearClsHead' else 'predictor'
    if field is not None:
        cfg.head.setdefault(field, ConfigDict(type='Linear'))
    return [_Classifier('head.fc', head.fc, head.num_classes, cfg.head, field)]


def _class_counts(cfg: Config, meta: dict) -> ClassCounts:
    """Those of the checkpoint, else those of the training set that the config names."""
    if meta.get('class_counts') is not None:
        return ClassCounts.from_dict(meta['class_counts'])
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    if dataset is None:
        raise ValueError('neither the checkpoint holds class counts (ClassCountsHook writes them) nor the config a '
                         'training set (train_dataloader.dataset).')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        return count_classes(DATASETS.build(copy.deepcopy(dataset)))
