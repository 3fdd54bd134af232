"""Running statistics of logit rectification, and of batch norm on request, from a pass over the training set.

mmpretrain's ``PreciseBNHook`` is no base for this: it averages the variances of batches, which leaves out the variance
between their means, finds only subclasses of ``_BatchNorm``, needs the train loop and so can't run in a test, and goes
through the shuffled loader.
"""
import copy
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather, get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...models.layers.compound_bn import CompoundBN
from ...models.layers.logit_rectification import LogitRectification
from .checkpoint_guard_hook import unwrapped
from .device_data_hook import device_dataset


class _Moments:
    """Mean and variance of each channel over all the inputs of a layer, on all ranks, in float64."""

    def __init__(self, layer: nn.Module) -> None:
        self.table = layer.running_mean.new_zeros(3, len(layer.running_mean), dtype=torch.float64)
        self.handle = layer.register_forward_pre_hook(self)

    def __call__(self, layer: nn.Module, inputs: tuple) -> None:
        x = inputs[0][:, :self.table.size(1)]
        count = x.numel() // max(x.size(1), 1)
        if count:
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            var, mean = torch.var_mean(x, dim=[d for d in range(x.dim()) if d != 1], correction=0)
            self.table = _merge(self.table, torch.stack([torch.full_like(mean, count), mean, var * count]).double())

    def write(self, layer: nn.Module, name: str) -> None:
        """Put mean and unbiased variance over all ranks into the layer."""
        self.handle.remove()
        table = torch.zeros_like(self.table)
        for part in all_gather(self.table):
            table = _merge(table, part)
        count, mean, squares = table
        if count[0] < 2:
            raise ValueError(f'RecomputeStatisticsHook: {name} saw {int(count[0])} rows, and a variance needs two. '
                             'Check `mode`, `num_batches` and train_dataloader.dataset.')
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(squares / (count - 1))


def _merge(a: Tensor, b: Tensor) -> Tensor:
    """Parallel variance (Chan et al., 1979) of two ``(3, C)`` tables: count, mean, sum of squared deviations."""
    count = a[0] + b[0]
    share = b[0] / count.clamp(min=1)
    delta = b[1] - a[1]
    return torch.stack([count, a[1] + delta * share, a[2] + b[2] + delta.square() * a[0] * share])


@contextmanager
def _undisturbed(model: nn.Module, seed: int) -> Iterator[None]:
    """Afterwards modes and random states are as before; inside, the random states come from ``seed``."""
    modes = {module: module.training for module in model.modules()}
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            for module, mode in modes.items():
                module.training = mode


@torch.no_grad()
def recompute_statistics(model: nn.Module,
                         batches: Iterable,
                         batch_norm: bool = False,
                         mode: str = 'tensor',
                         seed: int = 0) -> list[str]:
    """Set running mean and (unbiased) variance to those of all inputs of the layers.

    Logit rectification: the network in eval mode. Batch norm, in a pass of its own before that: the chosen layers
    normalise by their batch, as in training, and all else is in eval mode; layers that stay in eval mode in training
    (``norm_eval``, frozen stages) keep their statistics. All other buffers are as before afterwards.

    Args:
        model (nn.Module): A model of mmengine's interface, not wrapped.
        batches (Iterable): Batches of the training set; gone through twice with ``batch_norm``.
        batch_norm (bool): Whether to recompute batch norm's statistics too. Defaults to False.
        mode (str): ``mode`` of the model's forward. Defaults to ``'tensor'``.
        seed (int): Of the random augmentation. Defaults to 0.

    Returns:
        list[str]: Names of the layers.

    Raises:
        ValueError: If the model has no such layer, or a layer saw fewer than two rows.
    """
    rectifications = {name: m for name, m in model.named_modules() if isinstance(m, LogitRectification)}
    with _undisturbed(model, seed):
        model.train()
        norms = {name: m for name, m in model.named_modules()
                 if isinstance(m, _BatchNorm) and m.training and m.track_running_stats} if batch_norm else {}
    mixtures = [name for name, m in norms.items() if isinstance(m, CompoundBN)]
    if mixtures:
        raise ValueError(f'RecomputeStatisticsHook: batch_norm=True, but {mixtures[0]} is CompoundBN: the statistics '
                         'of its components decide which inputs they get, so that one pass does not find them. Set '
                         'batch_norm=False.')
    passes: list[dict[str, nn.Module]] = [layers for layers in (norms, rectifications) if layers]
    if not passes:
        raise ValueError('RecomputeStatisticsHook found no LogitRectification in the model'
                         + (' and no batch norm that is in training mode in training' if batch_norm else '')
                         + ". Use predictor=dict(type='RectifiedPredictor', ...), set batch_norm=True, or remove the "
                         'hook.')
    targets = {id(b) for layers in passes for m in layers.values() for b in (m.running_mean, m.running_var)}
    others = [(module, name, buffer, buffer.clone()) for module in model.modules()
              for name, buffer in module._buffers.items() if buffer is not None and id(buffer) not in targets]
    for layers in passes:
        with _undisturbed(model, seed):
            model.eval()
            if layers is norms:
                for layer in layers.values():
                    layer.training = True
            moments = {name: _Moments(layer) for name, layer in layers.items()}
            for batch in batches:
                data = model.data_preprocessor(batch, False)
                model(**data, mode=mode)
        for name, layer in layers.items():
            moments[name].write(layer, name)
    for module, name, buffer, value in others:
        buffer.copy_(value)
        module._buffers[name] = buffer  # a loss may have put another tensor in its place
    return [name for layers in passes for name in layers]


@HOOKS.register_module()
class RecomputeStatisticsHook(Hook):
    """Recompute running statistics over the training set before evaluation.

    A tail class is in few batches, so the moving deviation of its logit is noisy. This hook takes it from the whole
    training set, in a fixed order and with the training pipeline; under DDP from the shards of all ranks. The new
    statistics stay in the model and go on moving in training.

    With ``EMAHook`` they are those of the averaged weights, and are put beside these, too, so that a checkpoint that is
    saved now holds the network that is evaluated.

    What a checkpoint holds: the one saved at the end of an epoch or at an interval is written before validation and
    holds moving averages (``save_best`` has mmengine write it again when the best improves); the best one is written
    after it and holds the recomputed ones. A test with this hook recomputes in either case, and needs the training set
    for it.

    Args:
        interval (int): Recompute before every ``interval``-th validation, counted from the start of the run, and before
            the last; 0: before the last one alone. Defaults to 1.
        at_test (bool): Whether to recompute before a test, too. Defaults to True.
        batch_norm (bool): Whether to recompute the statistics of batch norm, too. Defaults to False.
        num_batches (int, optional): Batches per rank; None: the whole training set. Defaults to None.
        mode (str): How the model is called: ``'tensor'``, or ``'loss'`` for detectors, whose classifier then sees the
            sampled proposals of training. Defaults to ``'tensor'``.
        seed (int): Of the order and of random augmentation. Defaults to 0.

    Raises:
        ValueError: If an option is out of its range, or the config names no training set.
    """
    # after EMAHook (NORMAL), so that the statistics are those of the averaged weights
    priority = 'BELOW_NORMAL'

    def __init__(self,
                 interval: int = 1,
                 at_test: bool = True,
                 batch_norm: bool = False,
                 num_batches: int | None = None,
                 mode: str = 'tensor',
                 seed: int = 0) -> None:
        if interval < 0:
            raise ValueError(f'RecomputeStatisticsHook: interval={interval} must be at least 0.')
        if num_batches is not None and num_batches < 1:
            raise ValueError(f'RecomputeStatisticsHook: num_batches={num_batches} must be at least 1, or None for all.')
        if mode not in ('tensor', 'loss'):
            raise ValueError(f"RecomputeStatisticsHook: mode={mode!r} must be 'tensor' or 'loss'.")
        self.interval = interval
        self.at_test = at_test
        self.batch_norm = batch_norm
        self.num_batches = num_batches
        self.mode = mode
        self.seed = seed
        self._validations = 0
        self._training = False

    def before_run(self, runner: Any) -> None:
        """Check that there is something to recompute, and from what."""
        if (runner.cfg.get('train_dataloader') or {}).get('dataset') is None:
            raise ValueError('RecomputeStatisticsHook needs the training set, but the config has no '
                             '`train_dataloader.dataset`. Add it or remove the hook.')

    def before_train(self, runner: Any) -> None:
        """Start counting validations."""
        self._training = True
        self._validations = 0

    def after_train(self, runner: Any) -> None:
        """A validation from here on stands alone."""
        self._training = False

    def before_val_epoch(self, runner: Any) -> None:
        """Recompute, if it is this validation's turn."""
        if not self._training:
            self._recompute(runner)
            return
        self._validations += 1
        loop = runner.train_loop
        last = loop.epoch >= loop.max_epochs if self.by_epoch(runner) else loop.iter >= loop.max_iters
        if last or (self.interval and self._validations % self.interval == 0):
            self._recompute(runner)

    def before_test_epoch(self, runner: Any) -> None:
        """Recompute, if so set."""
        if self.at_test:
            self._recompute(runner)

    @staticmethod
    def by_epoch(runner: Any) -> bool:
        """Whether the train loop counts epochs (a loop over iterations has one epoch or leaves them open)."""
        return hasattr(runner.train_loop, 'run_epoch')

    def _recompute(self, runner: Any) -> None:
        model = unwrapped(runner.model)
        with _undisturbed(model, self.seed):
            loader = self._build_loader(runner)
        batches = _FirstBatches(loader, self.num_batches, self.seed)
        names = recompute_statistics(model, batches, self.batch_norm, self.mode, self.seed)
        self._hand_to_averages(runner, model, names)
        runner.logger.info(f'Recomputed the running statistics of {len(names)} layers over '
                           f'{min(self.num_batches or len(loader), len(loader))} batches a rank of the training set.')

    @staticmethod
    def _hand_to_averages(runner: Any, model: nn.Module, names: list[str]) -> None:
        """Put the statistics beside the averaged weights, whose buffers ``EMAHook`` does not exchange by default."""
        for hook in runner.hooks:
            # mmpretrain's can evaluate the weights that train
            if isinstance(hook, EMAHook) and getattr(hook, 'evaluate_on_ema', True):
                averaged = dict(hook.ema_model.module.named_buffers())
                for name, buffer in model.named_buffers():
                    if name.rpartition('.')[0] in names and name in averaged and not hook.ema_model.update_buffers:
                        averaged[name].copy_(buffer)

    def _build_loader(self, runner: Any) -> Any:
        """The training loader without its sampler: each image once, in an order that depends on the seed alone.

        The order is shuffled because a set sorted by class would give ``num_batches`` its head classes only. Ranks get
        equal numbers of batches where batch norm or a loss may synchronise (then a few images count twice), else exact
        shards. ``drop_last`` stays for batch norm, which a last batch of one image would stop.
        """
        cfg = copy.deepcopy(dict(runner.cfg.train_dataloader))
        for key in ('sampler', 'batch_sampler', 'persistent_workers', 'num_batch_per_epoch'):
            cfg.pop(key, None)
        if not self.batch_norm:
            cfg.pop('drop_last', None)
        if self._training:
            cfg['dataset'] = runner.train_dataloader.dataset
        round_up = (self.batch_norm or self.mode == 'loss') and get_world_size() > 1
        cfg['sampler'] = dict(type='DefaultSampler', shuffle=True, round_up=round_up)
        return runner.build_dataloader(cfg, seed=self.seed)


class _FirstBatches:
    """The first ``number`` batches of a loader, as often as asked; the same ones each time."""

    def __init__(self, loader: Iterable, number: int | None, seed: int) -> None:
        self.loader = loader
        self.number = number
        self.seed = seed

    def __iter__(self) -> Iterator:
        dataset = device_dataset(self.loader)
        with dataset.apart(self.seed) if dataset is not None else nullcontext():
            yield from islice(iter(self.loader), self.number)
