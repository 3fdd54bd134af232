"""Logged scalars that stay on the device until somebody is about to read them."""
from typing import Any

import numpy as np
import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.utils import apply_to
from torch import Tensor

Scalar = int | float | np.ndarray | np.number | Tensor


class DeferredScalars:
    """Scalars by name, in the order in which they came, that a message hub has not seen yet."""

    def __init__(self) -> None:
        self._values: dict[str, list[Scalar]] = {}

    def add(self, name: str, value: Scalar) -> None:
        """Keep a scalar; of a tensor a copy, because a captured graph writes the next one to the same place.

        Args:
            name (str): Its name in the message hub.
            value (int | float | np.ndarray | Tensor): One number.
        """
        if isinstance(value, Tensor):
            value = value.detach().clone()
        self._values.setdefault(name, []).append(value)

    def hand_over(self, hub: MessageHub) -> None:
        """Give all scalars to the hub: those of one device and type leave it in one transfer.

        Args:
            hub (MessageHub): Gets what it would have got one by one.
        """
        tensors: dict[tuple, list[tuple[list, int]]] = {}
        for values in self._values.values():
            for index, value in enumerate(values):
                if isinstance(value, Tensor):
                    tensors.setdefault((value.device, value.dtype), []).append((values, index))
        for places in tensors.values():
            numbers = torch.stack([values[index].reshape(()) for values, index in places]).tolist()
            for (values, index), number in zip(places, numbers, strict=True):
                values[index] = number
        for name, values in self._values.items():
            hub.update_scalar(name, values[0])
            _extend(hub, name, values[1:])
        self._values = {}


def _extend(hub: MessageHub, name: str, values: list[Scalar]) -> None:
    """Append many values at once; the host's buffer copies its whole history for each."""
    buffer = hub.get_scalar(name)
    history, counts = buffer.data
    if len(history) + len(values) > buffer.max_length:
        for value in values:
            hub.update_scalar(name, value)
    elif values:
        values = [value.item() if isinstance(value, (np.ndarray, np.number)) else value for value in values]
        hub.log_scalars[name] = HistoryBuffer(
            np.append(history, values), np.append(counts, [1] * len(values)), buffer.max_length)


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook`` that does not wait for the device in each iteration.

    The host's calls ``.item()`` on every logged value, so that the next iteration can't be prepared while the device
    works. This one keeps the values and hands them over, in one transfer, when a ``LoggerHook`` is about to read them,
    and before a checkpoint, a validation and the end of an epoch: logs, their windows and what a checkpoint holds of
    them are the same to the digit. A hook of your own that reads ``train/…`` scalars in other iterations finds older
    ones.

    Takes the host's place in a config::

        default_hooks = dict(runtime_info=dict(type='DeferredRuntimeInfoHook'))
    """

    def __init__(self) -> None:
        self._scalars = DeferredScalars()
        self._names: set[str] = set()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Note the iteration, and keep the learning rate."""
        runner.message_hub.update_info('iter', runner.iter)
        self._keep(runner, {name: rates[0] for name, rates in runner.optim_wrapper.get_lr().items()})

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict[str, Any] | None = None) -> None:
        """Keep the outputs; hand over if they are about to be logged."""
        self._keep(runner, outputs or {})
        if any(self.every_n_inner_iters(batch_idx, hook.interval) for hook in runner.hooks
               if isinstance(hook, LoggerHook)) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._scalars.hand_over(runner.message_hub)

    def _keep(self, runner: Runner, values: dict[str, Scalar]) -> None:
        for name, value in values.items():
            self._scalars.add(f'train/{name}', value)
        if not self._names.issuperset(values):  # at once, so that names have the host's order in the log
            self._names.update(values)
            self._scalars.hand_over(runner.message_hub)

    def after_train_epoch(self, runner: Runner) -> None:
        """Hand over."""
        self._scalars.hand_over(runner.message_hub)

    def before_val(self, runner: Runner) -> None:
        """Hand over, and what the host's does."""
        self._scalars.hand_over(runner.message_hub)
        super().before_val(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Hand over; the checkpoint's record of the hub was taken before."""
        self._scalars.hand_over(runner.message_hub)
        checkpoint['message_hub'] = apply_to(
            runner.message_hub.state_dict(), lambda value: hasattr(value, 'cpu'), lambda value: value.cpu())
