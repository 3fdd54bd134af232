"""Batch normalisation whose training statistics may span all ranks, over nccl and gloo alike."""
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .sync_stats import sync_batch_norm, sync_world_size


class SyncableBatchNorm(_BatchNorm):
    """A batch norm for inputs ``(N, C, *)`` of any dimension, synchronised in training when ``self.sync`` is set.

    Without a process group, with one rank, and in eval mode it is torch's batch norm.
    """
    sync: bool = False

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f'{type(self).__name__} expects an input (N, C, *), got shape {tuple(input.shape)}.')

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C, *)`` over all dimensions but the second."""
        if not (self.sync and self.training and sync_world_size() > 1):
            return super().forward(input)
        self._check_input_dim(input)
        momentum = self.momentum
        if self.track_running_stats:
            self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        return sync_batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias,
                               0.0 if momentum is None else momentum, self.eps)


@MODELS.register_module()
class AllReduceBN(SyncableBatchNorm):
    """Batch normalisation over the batches of all ranks.

    Keys, parameters and evaluation are those of ``nn.BatchNorm2d``; unlike ``nn.SyncBatchNorm`` it runs on CPU over
    gloo, and neither ``revert_sync_batchnorm`` nor ``convert_sync_batchnorm`` mistakes its statistics for those of one
    rank: it is plain batch norm wherever there is one process. In a config: ``norm_cfg=dict(type='AllReduceBN')``; a
    backbone built by ``NBNBackbone`` gets it by ``nbn=dict(sync=True)``.

    Args:
        num_features (int): Channels C.
        eps (float): Added to the variance. Defaults to 1e-5.
        momentum (float, optional): Weight of new statistics in the running ones; None: cumulative mean.
        affine (bool): Whether to have weight and bias. Defaults to True.
        track_running_stats (bool): Whether to keep running statistics. Defaults to True.
        sync (bool): False makes it a plain batch norm. Defaults to True.

    Raises:
        ValueError: If ``eps`` is not greater than 0.
    """

    def __init__(self,
                 num_features: int,
                 eps: float = 1e-5,
                 momentum: float = 0.1,
                 affine: bool = True,
                 track_running_stats: bool = True,
                 sync: bool = True,
                 device: torch.device = None,
                 dtype: torch.dtype = None) -> None:
        check_eps(eps, type(self).__name__)
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype)
        self.sync = sync
        self.source_type = nn.BatchNorm2d

    @classmethod
    def from_batch_norm(cls, bn: _BatchNorm) -> 'AllReduceBN':
        """The synchronised layer on the parameters, statistics and mode of ``bn`` (shared, not copied)."""
        layer = cls(bn.num_features, bn.eps, bn.momentum, bn.affine, bn.track_running_stats)
        adopt_state(layer, bn)
        return layer


def check_eps(eps: float, name: str) -> None:
    """Refuse a batch norm's ε that torch would refuse only in the first training step.

    Args:
        eps (float): Added to the variance.
        name (str): The layer's type, for the message.

    Raises:
        ValueError: If it is not greater than 0.
    """
    if not eps > 0:
        raise ValueError(f'{name}: eps={eps!r} must be greater than 0. Change `eps` of norm_cfg.')


def adopt_state(layer: _BatchNorm, bn: _BatchNorm) -> None:
    """Let ``layer`` hold the parameters, buffers and training mode of ``bn``, and remember its type.

    Args:
        layer (_BatchNorm): A new layer of the same number of features.
        bn (_BatchNorm): The layer that it replaces.
    """
    for name in ('weight', 'bias'):
        layer._parameters[name] = bn._parameters[name]
    for name in ('running_mean', 'running_var', 'num_batches_tracked'):
        layer._buffers[name] = bn._buffers[name]
    layer.source_type = getattr(bn, 'source_type', type(bn))
    layer.train(bn.training)
