"""A per-image pipeline applied to whole batches on the device of the images."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .auto_augment import CIFARAutoAugment
from .batched_auto_augment import BatchedAutoAugment
from .batched_capture import CapturedFunction
from .batched_geometry import BatchedCropFlip, BatchedCutout
from .batched_transform import BatchedTransform, Drawn
from .cutout import CIFARCutout

__all__ = ['BatchedPipeline', 'BatchedTransform', 'Plan']


def _flip(prob: float, direction: str = 'horizontal') -> BatchedCropFlip:
    if direction != 'horizontal':
        raise ValueError(f"RandomFlip: direction={direction!r} must be 'horizontal' in the batched pipeline.")
    return BatchedCropFlip(prob=prob)


def _crop(crop_size: int | Sequence[int], padding_mode: str = 'constant', **options: object) -> BatchedCropFlip:
    if padding_mode != 'constant':
        raise ValueError(f"RandomCrop: padding_mode={padding_mode!r} must be 'constant' in the batched pipeline.")
    return BatchedCropFlip(crop_size, **options)


# Type in a config -> its batched counterpart and the options that this one has. Our own per-image classes check theirs.
SUPPORTED: dict[str, tuple[Callable[..., BatchedTransform], tuple[str, ...]]] = {
    'RandomCrop': (_crop, ('crop_size', 'padding', 'pad_if_needed', 'pad_val', 'padding_mode')),
    'RandomFlip': (_flip, ('prob', 'direction')),
    'CIFARAutoAugment': (lambda **options: BatchedAutoAugment(CIFARAutoAugment(**options).fill), ('fill', )),
    'CIFARCutout': (lambda **options: BatchedCutout(CIFARCutout(**options).size), ('size', )),
}
REQUIRED = dict(RandomCrop='crop_size', RandomFlip='prob')


def _build(config: dict) -> BatchedTransform:
    options = dict(config)
    kind = options.pop('type', None)
    name = kind.rsplit('.', 1)[-1] if isinstance(kind, str) else getattr(kind, '__name__', repr(kind))
    if name not in SUPPORTED:
        raise ValueError(f'the transform {name!r} has no batched counterpart; those that have one are '
                         f'{sorted(SUPPORTED)} and PackInputs at the end. Take it out of the pipeline, or use the '
                         'per-image pipeline.')
    build, known = SUPPORTED[name]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f'{name}: the option {unknown[0]!r} has no batched counterpart; those that have one are '
                         f'{sorted(known)}.')
    if name in REQUIRED and REQUIRED[name] not in options:
        raise ValueError(f'{name}: {REQUIRED[name]!r} is missing.')
    return build(**options)


@dataclass(frozen=True)
class Plan:
    """The random choices for one batch: a function of the generator's state, the number and the size of the images.

    Args:
        number (int): Images N.
        height (int): Of the images that the plan is for.
        width (int): Of the images that the plan is for.
        draws (tuple[dict]): Of each transform in turn, what its ``draw`` gave.
        buffer (np.ndarray): What the device needs of them, one after another, int64.
    """
    number: int
    height: int
    width: int
    draws: tuple[Drawn, ...]
    buffer: np.ndarray

    @property
    def shapes(self) -> tuple:
        """What decides which tensor operations are done: two plans that agree here may share a graph."""
        return tuple((key, array.shape, array.tobytes() if key.startswith('counts') else None)
                     for drawn in self.draws for key, array in drawn.items())


class BatchedPipeline:
    """The batched counterpart of a per-image pipeline, from the same configs.

    One generator on the host gives the same choices, and the same images bit by bit, on every device. Nothing waits for
    the device: the choices reach it in one copy (from pinned memory to a GPU).

    Args:
        transforms (Sequence[dict]): Configs of the transforms; a final ``PackInputs`` is accepted.
        capture (bool): Whether AutoAugment's groups are filled up to the same sizes in every batch, so that on a GPU
            all tensor operations are captured as one CUDA graph at the first batch of a size, and replayed. The images
            are the same; it costs more arithmetic and spares launches. Defaults to False.

    Raises:
        ValueError: If a transform, or an option of it, has no batched counterpart.
    """

    def __init__(self, transforms: Sequence[dict], capture: bool = False) -> None:
        transforms = list(transforms)
        if transforms and str(transforms[-1].get('type')).rsplit('.', 1)[-1] == 'PackInputs':
            options = sorted(set(transforms.pop()) - {'type'})
            if options:
                raise ValueError(f'PackInputs: the option {options[0]!r} has no batched counterpart; it has none.')
        self.capture = capture
        self._captured: dict[tuple, tuple[tuple, CapturedFunction]] = {}
        self.transforms: list[BatchedTransform] = []
        for transform in map(_build, transforms):
            last = self.transforms[-1] if self.transforms else None
            if isinstance(last, BatchedCropFlip) and last.takes_flip(transform):
                last.prob = transform.prob
            else:
                self.transforms.append(transform)
            if isinstance(transform, BatchedAutoAugment):
                transform.same_shapes = capture

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result for images of a size."""
        for transform in self.transforms:
            height, width = transform.output_size(height, width)
        return height, width

    def draw(self, generator: np.random.Generator, number: int, height: int, width: int) -> Plan:
        """Draw the choices for a batch, on the host.

        Args:
            generator (np.random.Generator): Source of randomness.
            number (int): Images N.
            height (int): Of the images.
            width (int): Of the images.

        Returns:
            Plan: For :meth:`apply`, on any device.
        """
        draws, size = [], (height, width)
        for transform in self.transforms:
            draws.append(transform.draw(generator, number, *size))
            size = transform.output_size(*size)
        arrays = [drawn[key].ravel() for transform, drawn in zip(self.transforms, draws, strict=True)
                  for key in transform.device_keys]
        buffer = np.concatenate(arrays) if arrays else np.zeros(0, np.int64)
        return Plan(number, height, width, tuple(draws), buffer)

    def apply(self, images: Tensor, plan: Plan) -> Tensor:
        """Apply the choices; the same result on every device.

        Args:
            images (Tensor): uint8, shape ``(N, 3, H, W)``, on any device; they are not changed.
            plan (Plan): From :meth:`draw` for this number and size.

        Returns:
            Tensor: uint8, shape ``(N, 3, H', W')``; the images themselves if there is no transform.

        Raises:
            TypeError: If the images are not uint8.
            ValueError: If they do not have the shape that the plan is for.
        """
        if images.dtype != torch.uint8:
            raise TypeError(f'the batched pipeline needs uint8 images, got {images.dtype}. Normalise after it.')
        shape = (plan.number, 3, plan.height, plan.width)
        if images.shape != shape:
            raise ValueError(f'the plan is for images of shape {shape}, got {tuple(images.shape)}.')
        buffer = torch.from_numpy(plan.buffer)
        if not images.is_cuda or not buffer.numel():
            return self._run(images, plan, buffer.to(images.device))
        buffer = buffer.pin_memory()
        if self.capture:
            place = images.device, *shape
            if place not in self._captured:
                function = CapturedFunction(lambda x, choices: self._run(x, plan, choices), images, buffer)
                self._captured[place] = plan.shapes, function
            shapes, function = self._captured[place]
            if shapes == plan.shapes:
                return function(images, buffer)
        return self._run(images, plan, buffer.to(images.device, non_blocking=True))

    def _run(self, images: Tensor, plan: Plan, buffer: Tensor) -> Tensor:
        """The tensor operations, with the buffer on the device."""
        start = 0
        for transform, drawn in zip(self.transforms, plan.draws, strict=True):
            drawn = dict(drawn)
            for key in transform.device_keys:
                size = drawn[key].size
                drawn[key] = buffer[start:start + size].view(drawn[key].shape)
                start += size
            images = transform.apply(images, drawn)
        return images

    def __getstate__(self) -> dict:
        """Without graphs, which belong to one process."""
        return {**self.__dict__, '_captured': {}}

    def __call__(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        """Draw and apply."""
        return self.apply(images, self.draw(generator, len(images), *images.shape[2:]))
