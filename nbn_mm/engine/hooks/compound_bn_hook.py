"""Labels for the split path of CompoundBN, and the entropy of its responsibilities in the log."""
import logging
import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ...datasets.label_batch import LabelBatch
from ...models.layers import CompoundBN
from ...models.placement.compound_owner import CompoundOwner
from .checkpoint_guard_hook import unwrapped

RANGE = (0.05, 0.95)  # of ln K: below, components are one-hot; above, they are alike


@HOOKS.register_module()
class CompoundBNHook(Hook):
    """Announces the labels of each training batch to ``CompoundBNBackbone``, and logs what the components do.

    .. code-block:: python

        custom_hooks = [dict(type='CompoundBNHook', interval=50)]

    The labels come from the arguments of the model's forward, in which the backbone runs: they are those of this
    forward in a run of several processes, under gradient accumulation and for any classifier that is called with
    ``data_samples`` in ``mode='loss'``. Without a split path the hook only logs.

    Logged is the mean entropy of the responsibilities of each layer in a training batch as a part of ln K,
    ``cbn_entropy/{layer}``: 0 is one component for each position, 1 is all components alike. A layer outside of 5 to
    95 % at the end of an epoch is named in a warning.

    Args:
        interval (int): Iterations between two logged values; best that of ``LoggerHook``. Defaults to 50.

    Raises:
        ValueError: If ``interval`` is below 1, or the model lacks CompoundBN or the head of two paths.
    """
    # before LoggerHook
    priority = 'NORMAL'

    def __init__(self, interval: int = 50) -> None:
        if not isinstance(interval, int) or isinstance(interval, bool) or interval < 1:
            raise ValueError(f'CompoundBNHook: interval={interval!r} must be an integer >= 1.')
        self.interval = interval
        self._handles: list[Any] = []

    def before_train(self, runner: Runner) -> None:
        """Check the model, and listen to its forward."""
        model = unwrapped(runner.model)
        if not any(isinstance(module, CompoundBN) for module in model.modules()):
            raise ValueError("CompoundBNHook: the model has no CompoundBN. Set model.backbone.type="
                             "'CompoundBNBackbone', or remove the hook.")
        owners = [module for module in model.modules() if isinstance(module, CompoundOwner) and module.split]
        if not owners:
            return
        head = getattr(model, 'head', None)
        if head is not None and not getattr(head, 'splits_paths', False):
            raise ValueError(f'model.head.type={type(head).__name__!r} does not know the two paths of the backbone. '
                             "Set model.head.type='DualPathClsHead', or model.backbone.compound=dict(split=False).")
        listener = _Announcement(owners)
        self._handles = [model.register_forward_pre_hook(listener.begin, with_kwargs=True),
                         model.register_forward_hook(listener.end, always_call=True)]

    def after_train(self, runner: Runner) -> None:
        """Stop listening."""
        while self._handles:
            self._handles.pop().remove()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict[str, Any] | None = None) -> None:
        """Log the entropies, as parts of ln K."""
        if self.every_n_inner_iters(batch_idx, self.interval) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            for name, value in entropies(runner.model).items():
                runner.message_hub.update_scalar(f'train/cbn_entropy/{name}', value)

    def after_train_epoch(self, runner: Runner) -> None:
        """Warn of layers whose components are one-hot or alike."""
        outside = {name: value for name, value in entropies(runner.model).items()
                   if not RANGE[0] <= value <= RANGE[1]}
        if outside:
            runner.logger.log(logging.WARNING, 'CompoundBN: mean entropy of the responsibilities outside of 5 to 95 %% '
                              'of ln K: %s. Below, change compound.tempering towards 1; above, towards 0, or '
                              'compound.spread upwards.',
                              ', '.join(f'{name} {value:.1%}' for name, value in outside.items()))


class _Announcement:
    """Tells owners the labels before a forward and makes them forget these after it."""

    def __init__(self, owners: list[CompoundOwner]) -> None:
        self.owners = owners

    def begin(self, model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        """Before ``forward(inputs, data_samples, mode)``."""
        given = dict(zip(('inputs', 'data_samples', 'mode'), args, strict=False), **kwargs)
        labels = labels_of(given.get('data_samples')) if model.training and given.get('mode') == 'loss' else None
        for owner in self.owners:
            owner.inform(labels)

    def end(self, model: nn.Module, args: tuple, output: Any) -> None:
        """After it, or after its error."""
        for owner in self.owners:
            owner.forget()


def labels_of(data_samples: Any) -> Tensor:
    """The hard labels of a training batch, shape ``(N, )``.

    Args:
        data_samples (list[DataSample] | LabelBatch): The samples.

    Raises:
        ValueError: If they are absent or soft.
    """
    if data_samples is None or len(data_samples) == 0:
        raise ValueError('CompoundBN: the split path needs the labels of the training batch, and the model was called '
                         'in mode="loss" without data_samples.')
    if isinstance(data_samples, LabelBatch) and not data_samples.touched:
        labels, soft = data_samples.gt_label, data_samples.gt_score is not None
    else:
        soft = 'gt_score' in data_samples[0]
        labels = None if soft or 'gt_label' not in data_samples[0] else torch.cat([s.gt_label for s in data_samples])
    if soft:
        raise ValueError('CompoundBN: the split path normalises each image with the group of its class, and an image '
                         'that mixup or CutMix mixed is of several. Remove model.train_cfg.augments, or set '
                         'model.backbone.compound=dict(split=False) with head.type=\'LongTailClsHead\'.')
    if labels is None:
        raise ValueError('CompoundBN: the split path needs one label an image (gt_label), and the data samples of the '
                         'training batch have none.')
    return labels


def entropies(model: nn.Module) -> dict[str, float]:
    """Mean entropy of the responsibilities of each layer in its last training batch, as a part of ln K.

    Args:
        model (nn.Module): The model; a wrapper is looked through.

    Returns:
        dict[str, float]: Layer name to a number between 0 and 1; without layers of one component or untrained ones.
    """
    layers = {name: module for name, module in unwrapped(model).named_modules()
              if isinstance(module, CompoundBN) and module.num_components > 1 and module.entropy is not None}
    if not layers:
        return {}
    shares = torch.stack([layer.entropy / math.log(layer.num_components) for layer in layers.values()]).tolist()
    return dict(zip(layers, shares, strict=True))
