"""Statistics of logits from one pass over the training set, for LogN."""
from typing import Any

import torch
from mmengine.runner import Runner
from torch import nn

from ..datasets.class_counts import ClassCounts
from ..evaluation.functional.posthoc import LogitMoments
from .hooks.recompute_statistics_hook import RecomputeStatisticsHook, _FirstBatches, _undisturbed
from .launch.configure import load_config
from .launch.errors import LaunchError
from .linear_classifier import box_heads


@torch.no_grad()
def proposal_logit_moments(config: str, checkpoint: str, record: ClassCounts, num_batches: int | None = None,
                           seed: int = 0, options: dict[str, Any] | None = None) -> list[LogitMoments]:
    """Mean and deviation of the logits of a detector's box heads over the sampled proposals of the training set.

    The proposals are those that training samples, foreground and background, with the training pipeline; the network
    is in evaluation mode.

    Args:
        config (str): Path of the config.
        checkpoint (str): Path of the checkpoint.
        record (ClassCounts): Class counts, for losses that need them.
        num_batches (int, optional): Batches; None: the whole training set. Defaults to None.
        seed (int): Of order, augmentation and sampling. Defaults to 0.
        options (dict, optional): ``work_dir`` and ``cfg_options``, as of ``tools/test.py``.

    Returns:
        list[LogitMoments]: One a box head, over all its outputs.

    Raises:
        LaunchError: If the config names no training set, or the pass sampled no proposal.
    """
    cfg = load_config('test', config, options or {})
    if (cfg.get('train_dataloader') or {}).get('dataset') is None:
        raise LaunchError(f'the statistics of LogN need `train_dataloader.dataset` in {config}.')
    cfg.load_from, cfg.resume = checkpoint, False
    runner = Runner.from_cfg(cfg)
    runner.load_or_resume()
    model = runner.model
    for module in model.modules():
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts(record)
    hook = RecomputeStatisticsHook(mode='loss', num_batches=num_batches, seed=seed)
    with _undisturbed(model, seed):
        batches = _FirstBatches(hook._build_loader(runner), num_batches, seed)
        model.eval()
        moments = [_watch(head.fc_cls) for _, head in box_heads(model)]
        for batch in batches:
            model(**model.data_preprocessor(batch, False), mode='loss')
    if any(found.count < 2 for found in moments):
        raise LaunchError('LogN: the pass over train_dataloader.dataset sampled fewer than two proposals.')
    return moments


def _watch(predictor: nn.Module) -> LogitMoments:
    moments = LogitMoments()
    predictor.register_forward_hook(lambda module, inputs, output: moments.update(output.float().cpu()))
    return moments
