"""Stops a training whose loss is not finite, before it is saved."""
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, get_comm_device, is_distributed
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor

from ..launch.errors import RunStopped


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop at the first loss that is not finite, on all ranks, and never save what came of it.

    Every iteration is watched without waiting for the device; the result is read every ``interval`` iterations, and
    before each checkpoint and validation. There the weights are looked at too, because gradients can overflow behind a
    finite loss. Unlike the host's hook of the same purpose it names the iteration, the terms and the way back.

    Args:
        interval (int, optional): Iterations between two looks. Defaults to None: 1 on a CPU, 50 elsewhere.

    Raises:
        ValueError: If ``interval`` is no positive integer.
        RunStopped: If a loss or, at a checkpoint, a weight is not finite.
    """
    # Before the logger and the checkpoint.
    priority = 'NORMAL'

    def __init__(self, interval: int | None = None) -> None:
        if interval is not None and (isinstance(interval, bool) or not isinstance(interval, int) or interval < 1):
            raise ValueError(f'interval={interval!r} of FiniteLossHook must be a positive integer, or None.')
        self.interval = interval
        self._first: Tensor | None = None  # first iteration whose loss is not finite, else infinity
        self._iteration = 0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: Mapping[str, Tensor] | None = None) -> None:
        """Watch the losses of an iteration."""
        self._iteration = runner.iter + 1
        losses = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        device = next((value.device for value in losses.values() if torch.is_tensor(value)), torch.device('cpu'))
        if self._first is None:
            self._first = torch.tensor(torch.inf, device=device)
        if losses:
            bad = ~torch.stack([_is_finite(value).to(device) for value in losses.values()]).all()
            self._first = torch.where(bad, self._first.clamp(max=self._iteration), self._first)
        saves = self._saves(runner)
        if saves or self.every_n_train_iters(runner, self.interval or (1 if device.type == 'cpu' else 50)):
            self._look(runner, losses, saves)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look before the checkpoint of an epoch."""
        if self._first is not None:
            self._look(runner, {}, saves=True)

    def before_val_epoch(self, runner: Runner) -> None:
        """Look before a validation, after which the best checkpoint is saved."""
        self.after_train_epoch(runner)

    def _saves(self, runner: Runner) -> bool:
        """Whether a checkpoint is saved after this iteration."""
        return any(not hook.by_epoch and (self.every_n_train_iters(runner, hook.interval, hook.save_begin)
                                          or hook.save_last and self.is_last_train_iter(runner))
                   for hook in runner.hooks if isinstance(hook, CheckpointHook))

    def _look(self, runner: Runner, losses: Mapping[str, Tensor], saves: bool) -> None:
        first = _of_any_rank(self._first)
        if math.isfinite(first):
            raise RunStopped(self._message(runner, int(first), losses))
        if saves:
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            names = [name for name, value in model.state_dict().items()
                     if torch.is_tensor(value) and value.is_floating_point() and not _is_finite(value)]
            if _of_any_rank(self._first.new_tensor(-len(names))) < 0:  # statistics differ between the ranks
                raise RunStopped(f'Weights are not finite after iteration {self._iteration}, though its loss is: '
                                 f"{_some(names) or 'on another rank'}. {self._way_back(runner)}")

    def _message(self, runner: Runner, iteration: int, losses: Mapping[str, Tensor]) -> str:
        # A loop over iterations leaves the epochs uncounted.
        epoch = f' (epoch {runner.epoch + 1})' if hasattr(runner.train_loop, 'run_epoch') else ''
        terms = [f'{name}={float(torch.as_tensor(value).detach()):g}' for name, value in losses.items()
                 if not _is_finite(value)]
        seen = f'; at iteration {self._iteration}: {_some(terms)}' if terms else ''
        return f'The loss of iteration {iteration}{epoch} is not finite{seen}. {self._way_back(runner)}'

    @staticmethod
    def _way_back(runner: Runner) -> str:
        rates = ', '.join(f'{values[0]:g}' for values in runner.optim_wrapper.get_lr().values())
        known = os.path.isfile(os.path.join(runner.work_dir, 'last_checkpoint'))
        latest = find_latest_checkpoint(runner.work_dir) if known else None
        if latest:
            way = (f'The last good checkpoint is {latest}: continue with --resume, with gradient clipping '
                   '(optim_wrapper.clip_grad) or without AMP. Resuming restores the learning rate; for a lower one '
                   f'start a new run from its weights (load_from={latest!r}).')
        else:
            way = ('No checkpoint has been saved yet: start again with a lower optim_wrapper.optimizer.lr, gradient '
                   'clipping (optim_wrapper.clip_grad), a longer warm-up, or without AMP.')
        return f'Training stopped; nothing of this is saved. Learning rate: {rates}. {way}'


def _is_finite(value: Any) -> Tensor:
    return torch.isfinite(torch.as_tensor(value).detach()).all()


def _of_any_rank(value: Tensor) -> float:
    """The smallest of all ranks' values, so that one rank stops all of them."""
    if is_distributed():
        value = value.to(get_comm_device(), copy=True)
        all_reduce(value, 'min')
    return float(value)


def _some(items: Sequence[str], most: int = 5) -> str:
    return ', '.join(items[:most]) + (', …' if len(items) > most else '')
