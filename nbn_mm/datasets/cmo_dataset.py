"""CMO around a data set that reads and augments each image."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmpretrain.registry import DATASETS
from torch import Tensor

from .cmo import CMO, num_classes_of
from .dataset_labels import image_labels


@DATASETS.register_module()
class CMODataset:
    """Pastes minority foregrounds on the batches of a data set (CMO, see :mod:`nbn_mm.datasets.cmo`).

    torch's data loader asks for all images of a batch at once. In a mixed batch each image has, beside the ``gt_label``
    of its background, the soft label ``gt_score``, which losses of soft labels take. Foregrounds go through the same
    pipeline as backgrounds::

        train_dataloader = dict(dataset=dict(type='CMODataset', prob=0.5, alpha=1.0, dataset=dict(type=...)))
        default_hooks = dict(mixing_window=dict(type='MixingWindowHook', skip_first=3, skip_last=3))

    Its draws come from NumPy's global generator, which the host seeds in each worker: a resumed run draws as its
    workers' transforms do. ``DeviceDataset`` has the option ``cmo`` instead.

    Args:
        dataset (dict): Config of a data set whose pipeline ends in ``PackInputs``, one label an image.
        prob (float): Probability that a batch is mixed. Defaults to 0.5.
        alpha (float): Of the Beta distribution. Defaults to 1.0.
        power (float): An image of a class of n images is drawn as foreground with the weight ``n ** -power``. Defaults
            to 1.0.

    Raises:
        ValueError: If an option is out of range, or images of several sizes are to be mixed.
    """

    def __init__(self, dataset: dict | Any, prob: float = 0.5, alpha: float = 1.0, power: float = 1.0) -> None:
        self.cmo = CMO(prob, alpha, power)
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        # in shared memory, so that workers that go on over epochs see it change
        self._mixing = torch.ones((), dtype=torch.uint8).share_memory_()

    @property
    def metainfo(self) -> dict:
        """dict: That of the wrapped data set."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def full_init(self) -> None:
        """Load the annotations, and take the labels."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        if not self.cmo.ready:
            self.cmo.set_labels(image_labels(self.dataset), num_classes_of(self.dataset))

    def get_cat_ids(self, index: int) -> list[int]:
        """Label of a background."""
        return self.dataset.get_cat_ids(index)

    def set_mixing(self, on: bool) -> None:
        """Switch mixing on or off, in workers too, from the next batch that they begin."""
        self._mixing.fill_(int(on))

    def __getitem__(self, index: int) -> dict:
        """Raise; there are only whole batches."""
        raise TypeError('CMODataset mixes whole batches, and gives no single images. It must be the outermost data set '
                        'of its dataloader: other wrappers (repetition, concatenation) go inside, its `dataset`.')

    def __getitems__(self, indices: Sequence[int]) -> list[dict]:
        """The items of a batch, mixed or not.

        Args:
            indices (Sequence[int]): N indices.

        Returns:
            list[dict]: ``inputs`` and ``data_samples`` of each image.
        """
        items = [self.dataset[index] for index in indices]
        if not self._mixing:
            return items
        self.full_init()
        random = np.random.default_rng(np.random.randint(2**31, size=2))
        paste = self.cmo.draw(random, len(items), *_size(items))
        if paste is None:
            return items
        foregrounds = [self.dataset[index] for index in paste.foreground.tolist()]
        _size([*items, *foregrounds])
        rows, columns = slice(paste.top, paste.bottom), slice(paste.left, paste.right)
        for item, foreground in zip(items, foregrounds, strict=True):
            item['inputs'] = item['inputs'].clone()
            item['inputs'][:, rows, columns] = foreground['inputs'][:, rows, columns]
            score = torch.zeros(num_classes_of(self.dataset))
            score[item['data_samples'].gt_label] += paste.share
            score[foreground['data_samples'].gt_label] += 1 - paste.share
            item['data_samples'].set_gt_score(score)
        return items

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.cmo!r}, dataset={self.dataset!r})'


def _size(items: list[dict]) -> tuple[int, int]:
    if not all(isinstance(item, dict) and isinstance(item.get('inputs'), Tensor) for item in items):
        raise ValueError('CMODataset: the pipeline of its data set must end in PackInputs and give one image an item. '
                         'Check train_dataloader.dataset.dataset.pipeline.')
    sizes = {tuple(item['inputs'].shape[-2:]) for item in items}
    if len(sizes) > 1:
        raise ValueError(f'CMODataset: images of the sizes {sorted(sizes)[:5]} (height, width) in one batch can\'t be '
                         'pasted on each other. Bring them to one size in train_dataloader.dataset.dataset.pipeline, '
                         "for example with dict(type='RandomResizedCrop', scale=224).")
    return sizes.pop()
