"""Switches an augmentation that mixes images off at the start and at the end of the training."""
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class MixingWindowHook(Hook):
    """Has ``CMODataset``, or a ``DeviceDataset`` with ``cmo``, mix in the middle of the training only.

    The published CMO leaves out the first and the last three epochs::

        default_hooks = dict(mixing_window=dict(type='MixingWindowHook', skip_first=3, skip_last=3))

    Whether a batch may be mixed is a function of its epoch (or iteration) alone, so that a resumed run goes on as it
    would have.

    Args:
        skip_first (int): Epochs, or iterations, at the start without mixing. Defaults to 3.
        skip_last (int): At the end. Defaults to 3.
        by_epoch (bool): Whether these are epochs, as ``EpochBasedTrainLoop`` has them. Defaults to True.

    Raises:
        ValueError: If a number is negative, nothing would ever be mixed, the training loop has no epochs, or the data
            set does not mix.
    """

    def __init__(self, skip_first: int = 3, skip_last: int = 3, by_epoch: bool = True) -> None:
        for name, value in (('skip_first', skip_first), ('skip_last', skip_last)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f'MixingWindowHook: {name}={value!r} must be an integer of at least 0.')
        self.skip_first = skip_first
        self.skip_last = skip_last
        self.by_epoch = by_epoch

    def before_train(self, runner: Runner) -> None:
        """Check, and set what the first batch needs."""
        loop = runner.train_loop
        unit, length = ('epochs', loop.max_epochs) if self.by_epoch else ('iterations', loop.max_iters)
        if self.by_epoch and not hasattr(loop, 'run_epoch'):
            raise ValueError(f'MixingWindowHook: {type(loop).__name__} has no epochs to count. Set by_epoch=False and '
                             'give skip_first and skip_last in iterations.')
        if not self.by_epoch and loop.dataloader.num_workers:
            raise ValueError(f'MixingWindowHook: by_epoch=False with train_dataloader.num_workers='
                             f'{loop.dataloader.num_workers}, which prepare batches ahead. Set num_workers=0 (as '
                             'DeviceDataset has it), or count epochs.')
        if self.skip_first + self.skip_last >= length:
            raise ValueError(f'MixingWindowHook: skip_first={self.skip_first} and skip_last={self.skip_last} leave '
                             f'none of the {length} {unit} of train_cfg.')
        self._set(runner, runner.epoch if self.by_epoch else runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        """Switch, before the first batch of the epoch is asked for."""
        if self.by_epoch:
            self._set(runner, runner.epoch)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Switch, before the next batch is asked for."""
        if not self.by_epoch:
            self._set(runner, runner.iter + 1)

    def _set(self, runner: Runner, number: int) -> None:
        length = runner.train_loop.max_epochs if self.by_epoch else runner.train_loop.max_iters
        dataset = runner.train_loop.dataloader.dataset
        if not hasattr(dataset, 'set_mixing'):
            raise ValueError(f'MixingWindowHook: {type(dataset).__name__}, the data set of train_dataloader, mixes no '
                             "images. Use dict(type='CMODataset', dataset=...) as the outermost one, or DeviceDataset "
                             'with cmo=dict(), or remove the hook.')
        dataset.set_mixing(self.skip_first <= number < length - self.skip_last)
