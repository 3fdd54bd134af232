"""Batch normalisation with statistics over all ranks, on any backend of torch.distributed.

torch's and mmcv's SyncBN have no CPU kernel. The collectives here are one ``all_gather`` of ``2C + 1`` numbers in the
forward pass and one ``all_reduce`` of ``2C`` numbers in the backward pass, which gloo and nccl both have. Layers with
other statistics sum these by :func:`sum_over_ranks`.
"""

import torch
import torch._dynamo
import torch.distributed as dist
from torch import Tensor


def sync_world_size() -> int:
    """Number of ranks that share statistics: 1 without a process group."""
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size()


def global_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and sum of squared deviations of each channel over the batches of all ranks.

    Each rank takes the moments of its own batch in two passes; they are then merged by the formula of parallel variance
    (Chan et al., 1979), so a mean far from 0 costs no digits, and the ranks may hold batches of different sizes, 0
    included. Every rank merges the same numbers in the same order and gets the same bits. Not differentiable.

    Args:
        x (Tensor): Input of this rank, shape ``(N, C, *)``; taken in at least float32.

    Returns:
        tuple[Tensor, Tensor, Tensor]: The number of values per channel ``()``, mean ``(C, )`` and sum of squared
        deviations from it ``(C, )``.
    """
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    channels, count = x.size(1), x.numel() // max(x.size(1), 1)
    own = x.new_zeros(2 * channels + 1)
    if count:
        var, mean = torch.var_mean(x, dim=[d for d in range(x.dim()) if d != 1], correction=0)
        own[:channels], own[channels:-1], own[-1] = mean, var * count, count
    gathered = [torch.empty_like(own) for _ in range(sync_world_size())] if sync_world_size() > 1 else [own]
    if len(gathered) > 1:
        dist.all_gather(gathered, own)
    table = torch.stack(gathered)
    counts = table[:, -1:]
    total = counts.sum()
    mean = (table[:, :channels] * counts).sum(0) / total
    squares = (table[:, channels:-1] + counts * (table[:, :channels] - mean).square()).sum(0)
    return total, mean, squares


class _SumOverRanks(torch.autograd.Function):
    """The sum over all ranks; each rank's gradient is the sum of the gradients of all."""

    @staticmethod
    def forward(ctx, x):
        total = x.clone()
        if sync_world_size() > 1:
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad):
        grad = grad.clone()
        if sync_world_size() > 1:
            dist.all_reduce(grad)
        return grad


@torch._dynamo.disable  # as sync_normalize
def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum a tensor over all ranks, differentiably: the gradient is that of the sum of the ranks' losses.

    Args:
        x (Tensor): Of the same shape on all ranks, which all must take part in forward and backward.

    Returns:
        Tensor: The sum, on every rank.
    """
    return _SumOverRanks.apply(x)


class _SyncBatchNorm(torch.autograd.Function):
    """Normalise by the moments of all ranks; the gradient of the input crosses the ranks as well."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        total, mean, squares = global_moments(x)
        inv_std = (squares / total + eps).rsqrt()
        shape = (1, -1) + (1,) * (x.dim() - 2)
        out = (x.to(mean.dtype) - mean.view(shape)) * inv_std.view(shape)
        if weight is not None:
            out = out * weight.to(mean.dtype).view(shape) + bias.to(mean.dtype).view(shape)
        ctx.save_for_backward(x, weight, mean, inv_std, total)
        ctx.mark_non_differentiable(total, mean, squares)
        return out.to(x.dtype), total, mean, squares

    @staticmethod
    def backward(ctx, grad, *_):
        x, weight, mean, inv_std, total = ctx.saved_tensors
        shape = (1, -1) + (1,) * (x.dim() - 2)
        dims = [d for d in range(x.dim()) if d != 1]
        grad_acc = grad.to(mean.dtype)
        x_hat = (x.to(mean.dtype) - mean.view(shape)) * inv_std.view(shape)
        grad_bias = grad_acc.sum(dims)
        grad_weight = (grad_acc * x_hat).sum(dims)
        grad_x = None
        if ctx.needs_input_grad[0]:
            sums = torch.cat([grad_bias, grad_weight])
            if sync_world_size() > 1:
                dist.all_reduce(sums)
            mean_grad, mean_grad_x_hat = (sums / total).chunk(2)
            scale = inv_std if weight is None else inv_std * weight.to(mean.dtype)
            grad_x = (grad_acc - mean_grad.view(shape) - x_hat * mean_grad_x_hat.view(shape)) * scale.view(shape)
            grad_x = grad_x.to(x.dtype)
        if weight is None:
            return grad_x, None, None, None
        return grad_x, grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None


@torch._dynamo.disable  # traced by torch 2.11, its backward gives gradients of 0, without a word
def sync_normalize(x: Tensor, weight: Tensor | None, bias: Tensor | None,
                   eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise by the moments of all ranks, differentiably, and return those moments.

    ``torch.compile`` runs it as it is, between two graphs.

    Args:
        x (Tensor): Shape ``(N, C, *)``.
        weight (Tensor, optional): Shape ``(C, )``; with ``bias`` or not at all.
        bias (Tensor, optional): Shape ``(C, )``.
        eps (float): Added to the variance.

    Returns:
        tuple[Tensor, Tensor, Tensor, Tensor]: The output, in shape and dtype of ``x``, and :func:`global_moments`.
    """
    return _SyncBatchNorm.apply(x, weight, bias, eps)


def sync_batch_norm(x: Tensor,
                    running_mean: Tensor | None,
                    running_var: Tensor | None,
                    weight: Tensor | None = None,
                    bias: Tensor | None = None,
                    momentum: float = 0.1,
                    eps: float = 1e-5) -> Tensor:
    """``F.batch_norm`` of a training step, with the statistics of all ranks' batches.

    Equal to one process that holds all the batches: output, input gradient, running statistics. The gradients of
    ``weight`` and ``bias`` are those of this rank's rows, as DDP expects. All ranks must take part in forward and
    backward. It is exact: float16 and bfloat16 inputs are normalised in float32.

    Args:
        x (Tensor): Shape ``(N, C, *)``, ``N`` may differ between ranks.
        running_mean (Tensor, optional): Shape ``(C, )``, updated in place.
        running_var (Tensor, optional): Shape ``(C, )``, updated in place with the unbiased variance.
        weight (Tensor, optional): Shape ``(C, )``; with ``bias`` or not at all.
        bias (Tensor, optional): Shape ``(C, )``.
        momentum (float): Weight of the new statistics. Defaults to 0.1.
        eps (float): Added to the variance. Defaults to 1e-5.

    Returns:
        Tensor: Shape and dtype of ``x``.

    Raises:
        ValueError: If all ranks together hold fewer than two values per channel.
    """
    out, total, mean, squares = sync_normalize(x, weight, bias, eps)
    # Two values here are two values overall; asking the device only otherwise keeps the forward pass asynchronous.
    if x.numel() < 2 * x.size(1) and total < 2:
        raise ValueError(f'Synchronised batch normalisation needs at least two values per channel over all ranks, got '
                         f'{int(total)} (input of this rank: {tuple(x.shape)}). Raise train_dataloader.batch_size.')
    if running_mean is not None:
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((squares / (total - 1)).to(running_var.dtype), momentum)
    return out
