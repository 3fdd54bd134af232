"""A data set whose images live on the device, and whose batches are indices."""
import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.device import get_device
from mmengine.dist import get_rank
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from torch.utils.data import get_worker_info

from .cmo import CMO, num_classes_of
from .device_batch import DeviceBatch
from .device_images import DeviceImages, check_loading, read_images
from .label_batch import LabelBatch
from .transforms.batched import BatchedPipeline

HOOK_LINE = "default_hooks = dict(device_data=dict(type='DeviceDataHook'))"
# first number of a generator's seed: batches of the training, and those of a pass apart from it
TRAINING, APART = 0, 1
FOREGROUND = 1  # last number: the draws of CMO beside those of the batch's own augmentation


@DATASETS.register_module()
class DeviceDataset:
    """Keeps the uint8 images of a data set on the device and augments whole batches there.

    torch's data loader asks it for all images of a batch at once and, with ``device_collate``, hands on what it gets::

        train_dataloader = dict(
            batch_size=512, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
            collate_fn=dict(type='device_collate'),
            dataset=dict(type='DeviceDataset', dataset=dict(type='CIFAR10LT', data_root='data/cifar10'),
                         pipeline=[dict(type='RandomCrop', crop_size=32, padding=4), dict(type='PackInputs')]))
        default_hooks = dict(device_data=dict(type='DeviceDataHook'))

    ``pipeline`` is that of a per-image data set. Its random choices are drawn on the host by a generator that is a
    function of seed, rank and number of the batch alone; ``DeviceDataHook`` tells the seed and the number. Meta
    information, class counts and all else come from the wrapped data set, whose own pipeline runs once an image.

    Args:
        dataset (dict): Config of a data set whose items are ``img`` (uint8, ``(H, W, 3)``, one size) and one
            ``gt_label``. Of a set of files, with ``LoadImageFromFile`` (and a resize) in its pipeline.
        pipeline (Sequence[dict]): Augmentation and ``PackInputs``; see ``BatchedPipeline`` for what it may hold.
        device (str): ``'auto'``, the device that the model of this process is on, or a torch device such as ``'cpu'``.
            Defaults to ``'auto'``.
        capture (bool): Whether a GPU replays the augmentation as one CUDA graph, see ``BatchedPipeline``; the images
            are the same. Defaults to False.
        cmo (dict, optional): Options of :class:`~nbn_mm.datasets.cmo.CMO`, which pastes minority foregrounds on the
            batches, ``dict(prob=0.5, alpha=1.0, power=1.0)``; labels are then soft. Defaults to None: none are pasted.

    Raises:
        MemoryError: If the images don't fit.
        ValueError, TypeError: If the images can't be kept like this, or ``pipeline`` holds what has no batched form.
    """

    def __init__(self, dataset: dict | Any, pipeline: Sequence[dict] = (), device: str = 'auto',
                 capture: bool = False, cmo: dict | None = None) -> None:
        if device != 'auto':
            try:
                torch.device(device)
            except (RuntimeError, TypeError) as error:
                raise ValueError(f"DeviceDataset: device={device!r} is unknown; use 'auto', 'cpu' or 'cuda'. The error "
                                 f'was {error}') from error
        self.device = device
        self.pipeline = BatchedPipeline(pipeline, capture)
        self.cmo = None if cmo is None else CMO(**cmo)
        self.mixing = True
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        check_loading(self.dataset)
        self._data: DeviceImages | None = None
        self._seed: int | None = None
        self._stream: tuple[int, ...] = (TRAINING, )
        self._number = 0
        self._unused = 0

    @property
    def metainfo(self) -> dict:
        """dict: That of the wrapped data set."""
        return self.dataset.metainfo

    def __getattr__(self, name: str) -> Any:
        """All that is not defined here comes from the wrapped data set."""
        if name.startswith('_') or 'dataset' not in self.__dict__:
            raise AttributeError(f'{type(self).__name__!r} object has no attribute {name!r}')
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def full_init(self) -> None:
        """Load the annotations; who only counts classes needs no images on the device."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    def load(self) -> None:
        """Bring the images to the device, once; before the first batch at the latest."""
        if self._data is None:
            self.full_init()
            self._data = read_images(self.dataset, self._target())
            if self.cmo is not None:
                self.cmo.set_labels(self._data.labels.cpu().numpy(), num_classes_of(self.dataset))

    def _target(self) -> torch.device:
        name = get_device() if self.device == 'auto' else self.device
        device = torch.device(name)
        return torch.device('cuda', torch.cuda.current_device()) if device == torch.device('cuda') else device

    def start(self, seed: int, number: int, unused: int = 0) -> None:
        """Set what the next batch draws from.

        Args:
            seed (int): That of the run.
            number (int): Number of the batch since the start of the training, over all epochs.
            unused (int): Batches that are asked for before that one and thrown away: they stay empty. Defaults to 0.
        """
        self._seed, self._number, self._unused = seed, number, unused

    @contextmanager
    def apart(self, seed: int) -> Iterator[None]:
        """Inside, batches are numbered from 0 in a stream of their own; afterwards the training goes on undisturbed.

        Args:
            seed (int): Of the stream.
        """
        before = self._seed, self._stream, self._number
        self._seed, self._stream, self._number = seed, (APART, ), 0
        try:
            yield
        finally:
            self._seed, self._stream, self._number = before

    def __getitem__(self, index: int) -> Any:
        """Raise; there are only whole batches."""
        raise TypeError('DeviceDataset gives whole batches, no single images. It must be the outermost data set of its '
                        "dataloader: other wrappers (repetition, concatenation) go inside, DeviceDataset's `dataset`.")

    def __getitems__(self, indices: Sequence[int]) -> DeviceBatch:
        """The batch of these images, augmented.

        Args:
            indices (Sequence[int]): N indices.

        Returns:
            DeviceBatch: ``inputs``, uint8 ``(N, 3, H, W)``, and ``data_samples``, a ``LabelBatch``.

        Raises:
            RuntimeError: In a worker process, or if the pipeline draws and nobody gave it a seed.
        """
        if get_worker_info() is not None:
            raise RuntimeError('DeviceDataset works in the process of the model: set num_workers=0 and '
                               'persistent_workers=False in its dataloader.')
        if self._unused:
            self._unused -= 1
            return DeviceBatch()
        self.load()
        index = self._index(indices)
        images = self._augmented(index, self._generator() if self.pipeline.transforms else None)
        labels, score = self._data.labels.index_select(0, index), None
        if self.cmo is not None and self.mixing:
            images, score = self._pasted(images, labels)
        self._number += 1
        paths = self._data.paths
        samples = LabelBatch(DataSample, indices, None if paths is None else [paths[i] for i in indices],
                             gt_label=labels, gt_score=score)
        return DeviceBatch(inputs=images, data_samples=samples)

    def set_mixing(self, on: bool) -> None:
        """Switch CMO on or off, from the next batch on.

        Raises:
            ValueError: If there is none.
        """
        if self.cmo is None:
            raise ValueError('MixingWindowHook: the DeviceDataset of train_dataloader has nothing to switch. Give it '
                             'cmo=dict(prob=0.5), or remove the hook.')
        self.mixing = on

    def _index(self, indices: Sequence[int]) -> torch.Tensor:
        """Indices on the device, int64."""
        index = torch.from_numpy(np.asarray(indices, dtype=np.int64))
        device = self._data.images.device
        if device.type == 'cuda':
            index = index.pin_memory()
        return index.to(device, non_blocking=True)

    def _augmented(self, index: torch.Tensor, random: np.random.Generator | None) -> torch.Tensor:
        """These images, augmented."""
        images = self._data.images.index_select(0, index)
        if self.pipeline.transforms:
            images = self.pipeline.apply(images, self.pipeline.draw(random, len(index), *images.shape[2:]))
        return images

    def _pasted(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The images with foregrounds on them, and their soft labels; None if the coin says no."""
        random = self._generator(FOREGROUND)
        paste = self.cmo.draw(random, len(images), *images.shape[2:])
        if paste is None:
            return images, None
        rows, columns = slice(paste.top, paste.bottom), slice(paste.left, paste.right)
        index = self._index(paste.foreground)
        images = images.clone()  # a captured graph writes the next ones into the same memory
        images[..., rows, columns] = self._augmented(index, random)[..., rows, columns]
        classes = num_classes_of(self.dataset)
        return images, paste.share * F.one_hot(labels, classes) + (1 - paste.share) * F.one_hot(
            self._data.labels.index_select(0, index), classes)

    def _generator(self, *part: int) -> np.random.Generator:
        if self._seed is None:
            raise RuntimeError('DeviceDataset has no seed for the augmentation in its pipeline. Add the hook that '
                               f'gives it to the config:\n    {HOOK_LINE}')
        return np.random.default_rng((*self._stream, self._seed, get_rank(), self._number, *part))

    def __deepcopy__(self, memo: dict) -> 'DeviceDataset':
        """A copy on the same images, which nobody changes and which may fill more than half of the device."""
        memo[id(self._data)] = self._data
        memo[id(self)] = copied = object.__new__(type(self))
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def __repr__(self) -> str:
        return f'{type(self).__name__}(device={self.device!r}, pipeline={self.pipeline}, dataset={self.dataset!r})'
