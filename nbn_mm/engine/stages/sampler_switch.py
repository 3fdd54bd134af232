"""Another sampler in the training data loader from a stage on."""
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, DataLoader, Sampler

from ..hooks.device_data_hook import _takes_what_is_done


class StageSampler(Sampler):
    """A sampler that counts from the begin of its stage.

    The stage of a run thus draws what a run of its own with the same seed would draw.

    Args:
        sampler (Sampler): The sampler.
        begin (int): First epoch of the stage; 0 where iterations count. Defaults to 0.
        done (int): Indices of this rank that the stage has used before. Defaults to 0.
    """

    def __init__(self, sampler: Sampler, begin: int = 0, done: int = 0) -> None:
        self.sampler = sampler
        self.begin = begin
        self.done = done

    def __iter__(self) -> Iterator[int]:
        if self.done and hasattr(self.sampler, 'skip'):
            self.sampler.skip(self.done)
            return iter(self.sampler)
        return islice(iter(self.sampler), self.done, None) if self.done else iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the run."""
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch - self.begin)


class StageIterator:
    """Takes the place of ``IterBasedTrainLoop.dataloader_iterator``; its sampler stands at the right position already.

    Args:
        dataloader (DataLoader): With an endless sampler.
        ignored (int): Batches that a resumed loop asks for and throws away. Defaults to 0.
    """

    def __init__(self, dataloader: DataLoader, ignored: int = 0) -> None:
        self.dataloader = dataloader
        self.ignored = ignored
        self._iterator: Iterator | None = None

    def __iter__(self) -> 'StageIterator':
        return self

    def __next__(self) -> Any:
        if self.ignored:
            self.ignored -= 1
            return None
        if self._iterator is None:
            self._iterator = iter(self.dataloader)
        return next(self._iterator)

    def skip_iter(self, num_iters: int) -> None:
        """Nothing to skip."""


def is_epoch_loop(loop: Any) -> bool:
    """Whether the train loop counts epochs."""
    return hasattr(loop, 'run_epoch')


def build_sampler(runner: Any, cfg: dict | None, seed: int) -> Sampler:
    """Build the sampler of a stage on the data set of the run.

    Args:
        runner (Runner): The run.
        cfg (dict, optional): Config of the sampler; None: that of ``train_dataloader``.
        seed (int): Equal on all ranks.

    Raises:
        ValueError: If the sampler has no end where the loop counts epochs, or one where it counts iterations.
    """
    cfg = dict(runner.cfg.train_dataloader['sampler'] if cfg is None else cfg)
    sampler = DATA_SAMPLERS.build(cfg, default_args=dict(dataset=runner.train_loop.dataloader.dataset, seed=seed))
    endless = isinstance(sampler, InfiniteSampler) or hasattr(sampler, 'skip')
    if endless == is_epoch_loop(runner.train_loop):
        loop = type(runner.train_loop).__name__
        raise ValueError(f'StageHook: sampler={cfg!r} ' + (
            f'has no end, but {loop} counts epochs; leave out infinite=True.' if endless else
            f'ends, but {loop} counts iterations; add infinite=True, or use InfiniteSampler.'))
    return sampler


def with_sampler(loader: DataLoader, sampler: Sampler, cfg: Any = None) -> DataLoader:
    """A data loader like ``loader``, on the same data set, with another sampler.

    Args:
        loader (DataLoader): The loader so far.
        sampler (Sampler): The sampler.
        cfg (dict, optional): Config of the loader, which builds a ``batch_sampler`` that is not torch's own.
    """
    options = {name: getattr(loader, name) for name in (
        'num_workers', 'collate_fn', 'pin_memory', 'timeout', 'worker_init_fn', 'multiprocessing_context', 'generator',
        'prefetch_factor', 'persistent_workers', 'pin_memory_device') if hasattr(loader, name)}
    if type(loader.batch_sampler) is BatchSampler:
        options.update(batch_size=loader.batch_size, sampler=sampler, drop_last=loader.drop_last)
    else:
        options['batch_sampler'] = DATA_SAMPLERS.build(
            dict(cfg['batch_sampler']), default_args=dict(sampler=sampler, batch_size=cfg['batch_size']))
    return DataLoader(loader.dataset, **options)


def sampler_name(loader: DataLoader) -> str:
    """Type of the sampler that a loader draws from."""
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    return type(getattr(sampler, 'sampler', sampler)).__name__


def check_length(loader: DataLoader, changed: DataLoader, cfg: Any) -> None:
    """Raise if an epoch has another number of batches than before, from which schedules and resuming count.

    Raises:
        ValueError: With both numbers.
    """
    if len(changed) != len(loader):
        raise ValueError(f'StageHook: sampler={cfg!r} makes {len(changed)} batches an epoch where there were '
                         f'{len(loader)}; schedules and resuming count on equal epochs. Leave out `epoch_length`, or '
                         'train the stage in a run of its own with `load_from`.')


def install(runner: Any, sampler: Sampler, begin: int, position: int, resuming: bool) -> None:
    """Let the train loop draw from another sampler from its next batch on.

    Args:
        runner (Runner): The run.
        sampler (Sampler): From :func:`build_sampler`.
        begin (int): Epoch or iteration at which the stage began.
        position (int): Epoch or iteration of the next batch.
        resuming (bool): Whether the loop is about to skip what a resumed run has done.

    Raises:
        RuntimeError: If what the stage has used can't be skipped.
    """
    loop = runner.train_loop
    cfg = runner.cfg.get('train_dataloader')
    if is_epoch_loop(loop):
        loop.dataloader = with_sampler(loop.dataloader, StageSampler(sampler, begin), cfg)
        return
    batches = loop.dataloader.batch_sampler
    if position > begin and type(batches) is not BatchSampler:
        raise RuntimeError(f'resume: {position - begin} batches of the stage are done, and how to skip them in '
                           f'train_dataloader.batch_sampler ({type(batches).__name__}) is not known. Remove it, or '
                           'resume from a checkpoint of the begin of the stage.')
    ignored = position if resuming and _takes_what_is_done(loop) else 0
    done = (position - begin) * batches.batch_size if position > begin else 0
    loop.dataloader = with_sampler(loop.dataloader, StageSampler(sampler, done=done), cfg)
    loop.dataloader_iterator = StageIterator(loop.dataloader, ignored)
