"""Tells a data set on the device which batch comes next."""
from collections.abc import Iterator
from itertools import islice
from typing import Any

import mmengine
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.utils import digit_version
from torch.utils.data import BatchSampler, Sampler


class _Rest(Sampler):
    """What is left of a sampler's epoch.

    Args:
        sampler (Sampler): Gives the whole epoch.
        done (int): Indices that were consumed.
    """

    def __init__(self, sampler: Sampler, done: int) -> None:
        self.sampler = sampler
        self.done = done

    def __iter__(self) -> Iterator[int]:
        return islice(iter(self.sampler), self.done, None)

    def __len__(self) -> int:
        return max(len(self.sampler) - self.done, 0)  # the last batch may be smaller than those that are counted


KEY = 'epoch_position'


@HOOKS.register_module()
class DeviceDataHook(Hook):
    """Gives ``DeviceDataset`` the seed of the run and the number of the next batch, and loads its images.

    Stands in ``default_hooks`` under the name ``device_data``::

        default_hooks = dict(device_data=dict(type='DeviceDataHook'))

    A run that is resumed therefore augments its next batch as if nothing had happened. ``IterBasedTrainLoop`` skips the
    indices that were used (mmengine 0.10.3 to 0.10.7 takes the batches for that, which then stay empty);
    ``EpochBasedTrainLoop`` would begin an epoch anew that was saved in its middle, so this hook has it go on with the
    rest of it; if its number of batches is another one than before (another total batch), it does begin anew, with a
    warning. The checkpoint holds the place in the epoch as ``meta['epoch_position']``.

    Images of the training and of the validation set are loaded before training, so that what is wrong with them is said
    then. Data sets of other types are left alone.

    Raises:
        RuntimeError: If an epoch can't be resumed in its middle.
    """
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._whole: Sampler | None = None
        self._resumed: dict | None = None  # where the checkpoint stood in its epoch
        self._first = False
        self._began: tuple[int, int] | None = None  # epoch at work, and the iteration that it began with
        self._batches = 0  # of a whole epoch

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read the place in the epoch of a run that is resumed."""
        meta = checkpoint.get('meta') or {} if isinstance(checkpoint, dict) else {}
        self._resumed = meta.get(KEY) if getattr(runner, '_resume', False) else None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write the place in the epoch."""
        meta = checkpoint.setdefault('meta', {})
        if self._began is not None and {'epoch', 'iter'} <= set(meta):
            epoch, start = self._began
            meta[KEY] = dict(done=0 if meta['epoch'] > epoch else meta['iter'] - start, batches=self._batches)

    def before_train(self, runner: Runner) -> None:
        """Load the images."""
        self._first = True
        for loop in (runner.train_loop, runner.val_loop):
            dataset = device_dataset(loop.dataloader) if loop is not None else None
            if dataset is not None:
                dataset.load()
                dataset.start(runner.seed, runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        """Set seed and number, and skip what an interrupted epoch has had."""
        dataset = device_dataset(runner.train_dataloader)
        if dataset is None:
            return
        dataset.start(runner.seed, runner.iter, runner.iter if _takes_what_is_done(runner.train_loop) else 0)
        if hasattr(runner.train_loop, 'run_epoch'):
            self._batches = len(runner.train_dataloader)
            done = self._done(runner) if self._first else 0
            self._first, self._began = False, (runner.epoch, runner.iter - done)
            if done > 0:
                self._skip(runner, done)

    def after_train_epoch(self, runner: Runner) -> None:
        """Let the next epoch be whole."""
        if self._whole is not None:
            runner.train_dataloader.batch_sampler.sampler, self._whole = self._whole, None

    def _done(self, runner: Runner) -> int:
        """Batches of this epoch that were done before the run was resumed."""
        now = len(runner.train_dataloader)
        if self._resumed is not None:
            done, before = self._resumed['done'], self._resumed['batches']
        else:  # a checkpoint that does not hold the place: right if all its epochs had as many batches as this one
            done, before = runner.iter - runner.epoch * now, now
        if done == 0 or (before == now and 0 < done <= now):
            return done
        if self._resumed is not None and done >= before:
            return now  # the epoch was done
        runner.logger.warning(
            f'resume: epoch {runner.epoch + 1} has {now} batches, the checkpoint was saved after '
            f'{done if self._resumed else runner.iter} '
            + (f'of {before} of it' if self._resumed else f'in {runner.epoch} epochs')
            + '; it begins anew. Resume with the total batch of before (global_batch_size, number of processes) to go '
            'on in its middle.')
        return 0

    def _skip(self, runner: Runner, done: int) -> None:
        batches = runner.train_dataloader.batch_sampler
        if type(batches) is not BatchSampler:
            raise RuntimeError(f'resume: {done} batches of epoch {runner.epoch + 1} are done, and how to skip them in '
                               f'train_dataloader.batch_sampler ({type(batches).__name__}) is not known. Remove it, or '
                               'resume from a checkpoint of the end of an epoch.')
        runner.logger.info(f'resume: going on after batch {done} of epoch {runner.epoch + 1}.')
        self._whole = batches.sampler
        batches.sampler = _Rest(batches.sampler, done * batches.batch_size)

    def before_val(self, runner: Runner) -> None:
        """A validation outside of training, too, may augment."""
        self._before_evaluation(runner, runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        """A test may augment."""
        self._before_evaluation(runner, runner.test_dataloader)

    @staticmethod
    def _before_evaluation(runner: Runner, dataloader: Any) -> None:
        dataset = device_dataset(dataloader)
        if dataset is not None:
            dataset.load()
            dataset.start(runner.seed, 0)


def _takes_what_is_done(loop: Any) -> bool:
    """Whether a resumed loop asks its loader for the batches that are done, and throws them away."""
    return isinstance(loop, IterBasedTrainLoop) and not hasattr(loop.dataloader_iterator, 'skip_iter') \
        and digit_version(mmengine.__version__) >= digit_version('0.10.3')


def device_dataset(dataloader: Any) -> Any | None:
    """The data set of a loader if it lives on the device, else None.

    Args:
        dataloader (DataLoader): A built loader.
    """
    dataset = dataloader.dataset
    return dataset if hasattr(dataset, 'apart') and hasattr(dataset, '__getitems__') else None
