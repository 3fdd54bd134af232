"""Logit rectification: batch normalisation without affine parameters over the logits of a classifier.

Bao et al., Normalizing Batch Normalization for Long-Tailed Recognition, TIP 2024, arXiv:2501.03122.

Limits: after it, the logit of a class with a share p of the batch is at most sqrt((1 - p) / p) on average over that
class's rows, so losses with additive margins (LDAM, GCL at scale 30) don't fit behind it. A tail class is in few
batches and its moving deviation is noisy; ``RecomputeStatisticsHook`` takes both from the whole training set.
"""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .sync_stats import sync_normalize, sync_world_size


@MODELS.register_module()
class LogitRectification(nn.Module):
    """Standardise each class's logit: by the mini-batch in training, by moving averages at test.

    The arithmetic is that of ``nn.BatchNorm1d(num_features, affine=False)``, the biased variance for normalising and
    the unbiased one for the moving average, in at least float32 under autocast and for half inputs. It is no subclass
    of it: the hosts' ``norm_eval``, ``norm_decay_mult`` and SyncBN converters are meant for feature norms.

    In training, a batch of fewer than two rows (over all ranks if synchronised) has no deviation: it is normalised by
    the moving averages, and these are left alone. So is an empty one (no proposals in an image).

    Args:
        num_features (int): Columns of the logits, the unrectified ones included.
        eps (float): Added to the variance. Defaults to 1e-5.
        momentum (float, optional): Weight of a new batch in the moving averages; None: cumulative average.
            Defaults to 0.1.
        sync (bool): Statistics over the rows of all ranks, which all must then take part, with 0 rows too, in forward
            and backward. Defaults to False.
        unrectified (int): The last columns that stay as they are (2 with mmdet's SeesawLoss, whose last two logits are
            objectness). Defaults to 0.

    Raises:
        ValueError: If an option is out of its range, or the input is not ``(N, num_features)``.
    """

    def __init__(self,
                 num_features: int,
                 eps: float = 1e-5,
                 momentum: float | None = 0.1,
                 sync: bool = False,
                 unrectified: int = 0) -> None:
        super().__init__()
        if eps <= 0:
            raise ValueError(f'LogitRectification: eps={eps} must be greater than 0; change `rectification.eps`.')
        if momentum is not None and not 0 < momentum <= 1:
            raise ValueError(f'LogitRectification: momentum={momentum} must be in (0, 1] or None; '
                             'change `rectification.momentum`.')
        if not 0 <= unrectified < num_features:
            raise ValueError(f'LogitRectification: unrectified={unrectified} must be at least 0 and less than the '
                             f'{num_features} logits; change `rectification.unrectified`.')
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.sync = sync
        self.unrectified = unrectified
        self.register_buffer('running_mean', torch.zeros(num_features - unrectified))
        self.register_buffer('running_var', torch.ones(num_features - unrectified))
        self.register_buffer('num_batches_tracked', torch.tensor(0, dtype=torch.long))

    def forward(self, logits: Tensor) -> Tensor:
        """Rectify the logits.

        Args:
            logits (Tensor): Shape ``(N, C)`` with ``C = num_features``.

        Returns:
            Tensor: Shape ``(N, C)``, dtype of ``logits``.
        """
        if logits.dim() != 2 or logits.size(1) != self.num_features:
            raise ValueError(f'LogitRectification of {self.num_features} logits got shape {tuple(logits.shape)}; '
                             f'expected (N, {self.num_features}).')
        rectified = logits[:, :self.num_features - self.unrectified] if self.unrectified else logits
        # float32 inside: standardising cancels digits that half precision does not have
        x = rectified.to(torch.promote_types(logits.dtype, torch.float32))
        if self.training and self.sync and sync_world_size() > 1:
            x = self._synchronised(x)
        elif self.training and len(x) > 1:
            x = self._local(x)
        else:
            x = self._by_moving_averages(x)
        x = x.to(logits.dtype)
        return torch.cat([x, logits[:, -self.unrectified:]], dim=1) if self.unrectified else x

    def affine(self) -> tuple[Tensor, Tensor]:
        """The affine map that the layer is in eval mode, ``scale * logits + shift``, in float64.

        Returns:
            tuple[Tensor, Tensor]: ``scale`` and ``shift``, each ``(C, )``; 1 and 0 for the unrectified columns.
        """
        scale = (self.running_var.double() + self.eps).rsqrt()
        shift = -self.running_mean.double() * scale
        return F.pad(scale, (0, self.unrectified), value=1.0), F.pad(shift, (0, self.unrectified))

    @torch.no_grad()
    def reset_running_stats(self) -> None:
        """Forget the moving averages: mean 0, variance 1, no batch seen."""
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.num_batches_tracked.zero_()

    def _by_moving_averages(self, x: Tensor) -> Tensor:
        return (x - self.running_mean.to(x.dtype)) * (self.running_var.to(x.dtype) + self.eps).rsqrt()

    def _local(self, x: Tensor) -> Tensor:
        if self.momentum is not None and x.dtype == self.running_mean.dtype:
            self.num_batches_tracked.add_(1)
            return F.batch_norm(x, self.running_mean, self.running_var, None, None, True, self.momentum, self.eps)
        # A cumulative average would ask the device for the number of batches; half averages don't go with a float32 x.
        var, mean = torch.var_mean(x.detach(), dim=0, correction=1)
        self._update(mean, var, torch.ones_like(self.num_batches_tracked))
        return F.batch_norm(x, None, None, training=True, eps=self.eps)

    def _synchronised(self, x: Tensor) -> Tensor:
        out, total, mean, squares = sync_normalize(x, None, None, self.eps)
        # Chosen by `where`, not by an `if` on a number that lies on the accelerator.
        enough = total >= 2
        fallback = self._by_moving_averages(x)
        self._update(mean, squares / (total - 1), enough.to(self.num_batches_tracked.dtype))
        return torch.where(enough, out, fallback)

    @torch.no_grad()
    def _update(self, mean: Tensor, var: Tensor, batches: Tensor) -> None:
        self.num_batches_tracked += batches
        weight = self.momentum
        if weight is None:
            weight = 1.0 / self.num_batches_tracked.clamp(min=1).to(self.running_mean.dtype)
        for running, new in ((self.running_mean, mean), (self.running_var, var)):
            moved = running + weight * (new.to(running.dtype) - running)
            running.copy_(torch.where(batches > 0, moved, running))

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return (f'{self.num_features}, eps={self.eps}, momentum={self.momentum}, sync={self.sync}, '
                f'unrectified={self.unrectified}')
