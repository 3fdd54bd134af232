"""The maths of a diagonal Gaussian mixture over the channels of a batch: E-step, M-step, normalised output.

Cheng et al., Compound Batch Normalization for Long-tailed Image Classification, ACM MM 2022, arXiv:2212.01007, model
features by a mixture whose statistics follow a moving-average EM; the steps are those of any text book, and normalising
by a mixture is described by Kalayeh and Shah, arXiv:1806.02892.

Shapes: N images, S positions of each, G groups of D channels (G * D = C), K components. Inputs are ``(N, G, D, S)``,
responsibilities ``(N, G, K, S)``, statistics ``(G, K, D)``. Inputs and means are relative to one centre a channel, so
that a mean far from 0 costs no digits.
"""
import math
from typing import NamedTuple

import torch
from torch import Tensor

from .sync_stats import sum_over_ranks


class Moments(NamedTuple):
    """What an M-step finds.

    Args:
        count (Tensor): Σ r of each component, shape ``(G, K)``.
        mean (Tensor): Shape ``(G, K, D)``.
        var (Tensor): Biased variance, shape ``(G, K, D)``.
    """
    count: Tensor
    mean: Tensor
    var: Tensor


def log_densities(centred: Tensor, squared: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    r"""Log-densities :math:`\log N(x; \mu_k, \sigma_k^2)` of each position.

    Args:
        centred (Tensor): x, shape ``(N, G, D, S)``.
        squared (Tensor): x², same shape.
        mean (Tensor): Shape ``(G, K, D)``.
        var (Tensor): Variances > 0, shape ``(G, K, D)``.

    Returns:
        Tensor: Shape ``(N, G, K, S)``.
    """
    inverse = var.reciprocal()
    constant = -0.5 * (mean.square() * inverse + var.log() + math.log(2 * math.pi)).sum(-1)
    return (-0.5 * inverse) @ squared + (mean * inverse) @ centred + constant.unsqueeze(-1)


def responsibilities(log_density: Tensor, mixing: Tensor, temper: float = 1.0) -> tuple[Tensor, Tensor]:
    r"""The tempered E-step: :math:`r_k \propto (\pi_k N(x; \mu_k, \sigma_k^2))^\beta` at each position, by log-sum-exp.

    The log-ratio of two components grows with the number of channels, so that over many of them r is one-hot wherever
    the components differ at all. β < 1 is the tempering of deterministic annealing EM (Ueda and Nakano, 1998); the
    mixing weights are tempered with the density, or a component that gets little would soon get nothing.

    Args:
        log_density (Tensor): Shape ``(N, G, K, S)``.
        mixing (Tensor): Mixing weights π > 0, shape ``(G, K)``.
        temper (float): β. Defaults to 1.0, text-book EM.

    Returns:
        tuple[Tensor, Tensor]: r, which sums to 1 over K, and the mean entropy of r over all positions, shape ``()``.
    """
    log_r = torch.log_softmax(temper * (log_density + mixing.log().unsqueeze(-1)), dim=2)
    r = log_r.exp()
    return r, -(r * log_r).sum(2).mean()


def weighted_moments(centred: Tensor, squared: Tensor, r: Tensor, sync: bool = False) -> Moments:
    """The M-step; gradients go through the moments, and with ``sync`` across the ranks.

    Args:
        centred (Tensor): x, shape ``(N, G, D, S)``.
        squared (Tensor): x², same shape.
        r (Tensor): Shape ``(N, G, K, S)``.
        sync (bool): Whether the sums are over all ranks. Defaults to False.

    Returns:
        Moments: Of a component without any position, mean and variance are 0.
    """
    count = r.sum((0, 3)).unsqueeze(-1)
    first = (r @ centred.transpose(2, 3)).sum(0)
    second = (r @ squared.transpose(2, 3)).sum(0)
    if sync:
        dim = centred.size(2)
        count, first, second = sum_over_ranks(torch.cat([count, first, second], dim=-1)).split([1, dim, dim], dim=-1)
        count = count.detach()
    divisor = count.clamp(min=torch.finfo(count.dtype).tiny)
    mean = first / divisor
    return Moments(count.squeeze(-1), mean, (second / divisor - mean.square()).clamp(min=0))


def mix_normalised(centred: Tensor, r: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor,
                   eps: float) -> Tensor:
    r"""The output :math:`\sum_k r_k (w_k (x - \mu_k) / \sqrt{\sigma_k^2 + \epsilon} + b_k)`.

    Args:
        centred (Tensor): x, shape ``(N, G, D, S)``.
        r (Tensor): Shape ``(N, G, K, S)``.
        mean (Tensor): Shape ``(G, K, D)``; ``var``, ``weight`` and ``bias`` too.
        var (Tensor): Biased variance.
        weight (Tensor): w of each component.
        bias (Tensor): b of each component.
        eps (float): ε.

    Returns:
        Tensor: Shape ``(N, G, D, S)``.
    """
    scale = weight * (var + eps).rsqrt()
    shift = bias - mean * scale
    return (scale.transpose(1, 2) @ r) * centred + shift.transpose(1, 2) @ r


def moving_rate(count: Tensor, total: Tensor | float, momentum: float, damping: float, enough: Tensor) -> Tensor:
    """How far each component's moving statistics go towards those of the batch.

    A component that gets less than ``damping`` of an equal share of the positions moves proportionally slower.

    Args:
        count (Tensor): Σ r, shape ``(G, K)``.
        total (Tensor | float): Positions in all.
        momentum (float): The rate of a well fed component.
        damping (float): Between 0 (none) and 1.
        enough (Tensor): Which components move at all, shape ``(G, K)``.

    Returns:
        Tensor: Shape ``(G, K)``.
    """
    rate = torch.full_like(count, momentum)
    if damping > 0:
        rate = rate * (count * count.size(-1) / (total * damping)).clamp(max=1)
    return torch.where(enough, rate, torch.zeros_like(rate))


def asymmetric_start(num_components: int, num_features: int, spread: float, seed: int) -> Tensor:
    """First means of the components in standard deviations of the channels; they average 0, so that of one is 0.

    Args:
        num_components (int): K.
        num_features (int): C.
        spread (float): Their standard deviation.
        seed (int): Seed of the draw.

    Returns:
        Tensor: Shape ``(K, C)``, on the CPU.
    """
    offsets = torch.randn(num_components, num_features, generator=torch.Generator().manual_seed(seed))
    return spread * (offsets - offsets.mean(0))
