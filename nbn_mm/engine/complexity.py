"""Multiplications and parameters of a classifier, of each expert and of a routed ensemble."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .checkpoint_file import build_model


@dataclass
class Complexity:
    """What one image costs at test, in multiply-accumulate operations of convolutions and matrix products.

    Papers on classifiers, RIDE's tables among them, print this number as "FLOPs".

    Args:
        parameters (int): Number of parameters.
        total (int): Operations of the whole network.
        shared (int, optional): Those of the stages that experts share; None for a network without experts.
        experts (list[int], optional): Those of each expert: its stages, its classifier, and its router if there is one.
        used (list[float], optional): Shares of the images on which 1, 2, … E experts are asked.
    """
    parameters: int
    total: int
    shared: int | None = None
    experts: list[int] | None = None
    used: list[float] | None = None

    @property
    def by_number(self) -> list[int]:
        """Operations if the first 1, 2, … E experts are asked."""
        return [self.shared + sum(self.experts[:k + 1]) for k in range(len(self.experts or ()))]

    @property
    def routed(self) -> float | None:
        """Mean operations under ``used``."""
        return None if self.used is None else sum(a * b for a, b in zip(self.used, self.by_number, strict=True))

    def to_dict(self) -> dict:
        """Plain numbers, for JSON."""
        named = dict(parameters=self.parameters, total=self.total, shared=self.shared, experts=self.experts,
                     by_number=self.by_number or None, used=self.used, routed=self.routed)
        return {key: value for key, value in named.items() if value is not None}

    def __str__(self) -> str:
        lines = [f'parameters      {self.parameters / 1e6:9.3f} M', f'operations      {self.total / 1e9:9.3f} G']
        if self.experts is not None:
            lines.append(f'  shared stages {self.shared / 1e9:9.3f} G')
            for k, (own, total) in enumerate(zip(self.experts, self.by_number, strict=True)):
                lines.append(f'  expert {k}      {own / 1e9:9.3f} G; {k + 1} of {len(self.experts)} experts '
                             f'{total / 1e9:9.3f} G')
        if self.used is not None:
            mean = sum(share * (k + 1) for k, share in enumerate(self.used))
            lines.append(f'routed          {self.routed / 1e9:9.3f} G with {mean:.3f} experts an image')
        return '\n'.join(lines)


def parse_usage(asked: Sequence[float], num_experts: int) -> list[float]:
    """Shares of the images on which 1, 2, … E experts are asked, from ``expert/{k}_asked`` of ``ExpertAccuracyMetric``.

    Args:
        asked (Sequence[float]): Percent of the images on which each expert was asked; 100 for the first one.
        num_experts (int): E.

    Raises:
        ValueError: If there are not E, the first is not 100, or one is above the one before it.
    """
    if len(asked) != num_experts or abs(asked[0] - 100) > 1e-3 or list(asked) != sorted(asked, reverse=True) \
            or min(asked) < 0:
        raise ValueError(f'the percentages {list(asked)} must be {num_experts}, one an expert, as expert/0_asked, '
                         'expert/1_asked, … of ExpertAccuracyMetric: 100 for the first, then falling.')
    following = [*asked[1:], 0.0]
    return [(now - then) / 100 for now, then in zip(asked, following, strict=True)]


def _operations(function: Callable[..., object], *args: object) -> tuple[int, object]:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        output = function(*args)
    return counter.get_total_flops() // 2, output


def count_complexity(cfg: Config, height: int, width: int | None = None,
                     asked: Sequence[float] | None = None) -> Complexity:
    """Count for the classifier of a config.

    Args:
        cfg (Config): With a classification ``model``.
        height (int): Of the images, in pixels.
        width (int, optional): Of the images. Defaults to the height.
        asked (Sequence[float], optional): See :func:`parse_usage`.

    Returns:
        Complexity: Of one image.

    Raises:
        ValueError: If the model is no classifier, or there are percentages for a model without experts.
    """
    model = build_model(cfg).eval()
    backbone, head = getattr(model, 'backbone', None), getattr(model, 'head', None)
    if backbone is None or head is None:
        raise ValueError(f'{type(model).__name__} has no backbone and head: this counts classifiers.')
    image = torch.zeros(1, 3, height, width or height)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if not hasattr(backbone, 'forward_expert'):
        if asked is not None:
            raise ValueError(f'{type(backbone).__name__} has no experts, so that there is no share of images to weigh '
                             'by. Leave --asked out.')
        return Complexity(parameters, _operations(lambda: model(image, mode='tensor'))[0])
    shared, features = _operations(backbone.forward_shared, image)
    experts = [_operations(_expert, model, features, k)[0] for k in range(backbone.num_experts)]
    used = None if asked is None else parse_usage(asked, backbone.num_experts)
    return Complexity(parameters, shared + sum(experts), shared, experts, used)


def _expert(model: nn.Module, shared: Tensor, expert: int) -> None:
    maps = (model.backbone.forward_expert(shared, expert), )
    features = (model.neck(maps) if model.neck is not None else maps)[0]
    logits = model.head.experts[expert]['fc'](features)
    router = getattr(model.head, 'router', None)
    if router is not None and expert + 1 < model.backbone.num_experts:
        router(features, logits, expert)
