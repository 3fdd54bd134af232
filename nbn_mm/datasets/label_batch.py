"""A batch of labels, and of predictions, as one tensor each in the place of one data sample an image."""
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

# Those of a data sample, with a setter each, and those that several experts add.
SAMPLE_FIELDS = ('gt_label', 'gt_score', 'pred_label', 'pred_score')
FIELDS = (*SAMPLE_FIELDS, 'expert_label', 'experts_used')


class Targets:
    """Labels as a head reads them from a data sample, without being one.

    Args:
        gt_label (Tensor, optional): Labels, shape ``(N, )``.
        gt_score (Tensor, optional): Soft labels of one image, shape ``(C, )``.
    """

    def __init__(self, gt_label: Tensor | None = None, gt_score: Tensor | None = None) -> None:
        self.gt_label = gt_label
        self.gt_score = gt_score

    def __contains__(self, name: str) -> bool:
        return getattr(self, name, None) is not None


class LabelBatch(Sequence):
    """The data samples of a batch, held as tensors: ``gt_label`` ``(N, )``, ``gt_score`` ``(N, C)`` and the same of
    ``pred_``; of a head with E experts also ``expert_label``, the class that each predicts, ``(N, E)``, and
    ``experts_used``, how many were asked, ``(N, )``; those that are absent are None.

    Our preprocessor, heads and metrics take the tensors. To all other code it is a sequence of data samples, which are
    made when they are asked for and then kept, so that what such code writes into them is not lost; from then on
    :attr:`touched` is True, and heads take the samples.

    Args:
        sample_type (type): The host's data sample.
        indices (Sequence[int]): Index of each image in its data set.
        paths (Sequence[str], optional): File of each image.
        **fields (Tensor): Any of these tensors.

    Raises:
        TypeError: If a field is unknown.
    """

    def __init__(self, sample_type: type, indices: Sequence[int], paths: Sequence[str] | None = None,
                 **fields: Tensor | None) -> None:
        unknown = set(fields) - set(FIELDS)
        if unknown:
            raise TypeError(f'LabelBatch has no field {sorted(unknown)}; it holds {FIELDS}.')
        self.sample_type = sample_type
        self.indices = indices
        self.paths = paths
        self.gt_label: Tensor | None = fields.get('gt_label')
        self.gt_score: Tensor | None = fields.get('gt_score')
        self.pred_label: Tensor | None = fields.get('pred_label')
        self.pred_score: Tensor | None = fields.get('pred_score')
        self.expert_label: Tensor | None = fields.get('expert_label')
        self.experts_used: Tensor | None = fields.get('experts_used')
        self._samples: dict[int, Any] = {}

    @property
    def touched(self) -> bool:
        """bool: Whether a single data sample was taken out, and may have been changed."""
        return bool(self._samples)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int | slice) -> Any:
        """A data sample, or a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        if number not in self._samples:
            self._samples[number] = self._sample(number)
        return self._samples[number]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def _sample(self, number: int) -> Any:
        metainfo = dict(sample_idx=self.indices[number])
        if self.paths is not None:
            metainfo['img_path'] = self.paths[number]
        sample = self.sample_type(metainfo=metainfo)
        for name in FIELDS:
            value = getattr(self, name)
            if value is not None and name not in SAMPLE_FIELDS:
                sample.set_field(value[number], name)
            elif value is not None:
                getattr(sample, f'set_{name}')(value[number:number + 1] if name.endswith('label') else value[number])
        return sample

    def replaced(self, **fields: Tensor | None) -> 'LabelBatch':
        """A batch of the same images with other or further tensors.

        Args:
            **fields (Tensor): Those that change.

        Returns:
            LabelBatch: A new batch.
        """
        return LabelBatch(self.sample_type, self.indices, self.paths,
                          **{name: getattr(self, name) for name in FIELDS} | fields)

    def to(self, device: str | torch.device, non_blocking: bool = False) -> 'LabelBatch':
        """The batch on another device; itself if it is there."""
        moved = {name: getattr(self, name).to(device, non_blocking=non_blocking) for name in FIELDS
                 if getattr(self, name) is not None}
        return self if all(value is getattr(self, name) for name, value in moved.items()) else self.replaced(**moved)

    def targets(self) -> Sequence[Any]:
        """What the loss of a host's head takes for a list of data samples, and turns into the same target.

        Returns:
            Sequence: The data samples if one was touched; else one object with all labels, or with soft labels one an
            image.
        """
        if self.touched:
            return list(self)
        if self.gt_score is not None:
            return [Targets(gt_score=row) for row in self.gt_score.unbind()]
        return [Targets(gt_label=self.gt_label)]
