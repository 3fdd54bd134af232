"""What a detector with many classes has at the end of an image: proposals, logits, boxes and mask maps."""
import math

import torch
import torch.nn.functional as F
from torch import Tensor

HEIGHT, WIDTH = 800, 1333  # of the network's input
ORIGINAL = (480, 640)
OBJECTS = 30
SCORE_THR = 1e-4


def proposals(number: int, classes: int, candidates: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Proposals and logits.

    Two thirds of the proposals lie around objects, whose classes and some look-alikes stand out; the rest is anywhere.
    The logit of background is such that ``candidates`` scores (softmax) are above :data:`SCORE_THR`.

    Args:
        number (int): Number of proposals R.
        classes (int): Number of classes C.
        candidates (int): Scores above the threshold.
        seed (int): Seed of everything. Defaults to 0.

    Returns:
        tuple[Tensor, Tensor]: RoIs ``(R, 5)``, logits ``(R, C + 1)``.
    """
    generator = torch.Generator().manual_seed(seed)
    limit = torch.tensor([WIDTH, HEIGHT], dtype=torch.float32)
    near = 2 * number // 3
    which = torch.randint(OBJECTS, (near, ), generator=generator)
    centre = torch.rand(OBJECTS, 2, generator=generator) * limit
    side = torch.exp(torch.rand(OBJECTS, 2, generator=generator) * math.log(20)) * 20
    spread = 0.12 * torch.randn(near, 4, generator=generator)
    centres = torch.cat([centre[which] + side[which] * spread[:, :2],
                         torch.rand(number - near, 2, generator=generator) * limit])
    sides = torch.cat([side[which] * torch.exp(spread[:, 2:]),
                       torch.exp(torch.rand(number - near, 2, generator=generator) * math.log(20)) * 20])
    boxes = torch.cat([(centres - sides / 2).clamp(min=0), torch.minimum(centres + sides / 2, limit)], 1)
    logits = 1.5 * torch.randn(number, classes + 1, generator=generator)
    logits[:near] += (2 * torch.randn(OBJECTS, classes + 1, generator=generator))[which]
    logits[torch.arange(near), which * 37 % classes] += 6 * (1 - 4 * spread.square().mean(1))
    low, high = -10.0, 40.0
    for _ in range(50):
        logits[:, -1] = (low + high) / 2
        found = int((logits.softmax(1)[:, :-1] > SCORE_THR).sum())
        low, high = (logits[0, -1].item(), high) if found > candidates else (low, logits[0, -1].item())
    return torch.cat([torch.zeros(number, 1), boxes], 1), logits


def detections(number: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes of 8 to 250 pixels in the original image, ``(N, 4)``, and smooth mask logits ``(N, 1, 28, 28)``."""
    generator = torch.Generator().manual_seed(seed)
    height, width = ORIGINAL
    limit = torch.tensor([width, height], dtype=torch.float32)
    side = torch.exp(torch.rand(number, 2, generator=generator) * math.log(250 / 8)) * 8
    corner = torch.rand(number, 2, generator=generator) * (limit - side)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 28), torch.linspace(-1, 1, 28), indexing='ij')
    noise = F.interpolate(torch.randn(number, 1, 5, 5, generator=generator), size=28, mode='bicubic')
    return torch.cat([corner, corner + side], 1), 6 * (0.8 - x.square() - y.square()) + 2 * noise
