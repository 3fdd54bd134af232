"""Compound batch normalisation: normalise by a Gaussian mixture instead of one Gaussian.

Cheng et al., Compound Batch Normalization for Long-tailed Image Classification, ACM MM 2022, arXiv:2212.01007. Built
from its abstract, its forerunner Mixture Normalization (Kalayeh and Shah, arXiv:1806.02892) and text-book EM. From the
abstract: a mixture, its statistics by moving-average EM, and a second path that normalises groups of classes apart.
Ours is all that it leaves open: diagonal covariances, tempering, damping, the start, mixing the outputs by
responsibilities, the rate of the split path and which affine vectors it takes.
"""
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .all_reduce_bn import check_eps
from .compound_options import CompoundOptions
from .directions import effective_vector, random_direction
from .magnitude import register_magnitude
from .mixture_statistics import (
    Moments,
    asymmetric_start,
    log_densities,
    mix_normalised,
    moving_rate,
    responsibilities,
    weighted_moments,
)
from .sync_stats import global_moments, sync_world_size

MIN_MIXING = 1e-3  # a component's mixing weight in the E-step is at least this, so that it can come back
MIN_COUNT = 2  # positions (or, on the split path, images) that moments need
ENTRY_POINT_OPTIONS = ('placement', 'stages', 'pattern', 'split')


@MODELS.register_module()
class CompoundBN(_BatchNorm):
    r"""Batch normalisation by a mixture of K Gaussians, for inputs ``(N, C, *)``.

    At each position the responsibilities r of the components come from the moving statistics (E-step, no gradient).
    Training normalises by the moments of the batch under r (M-step, gradients go through them) and moves the
    statistics; evaluation normalises by the moving ones. The output is

    .. math:: y = \sum_k r_k (w_k (x - \mu_k) / \sqrt{\sigma_k^2 + \epsilon} + b_k).

    With K = 1, or with identical components, it is batch normalisation. With K > 1 the first training batch places the
    components around its mean; K = 1 starts at mean 0 and variance 1 as batch normalisation does. A component with a
    count below 2 in a batch is normalised by its moving statistics there and does not move.

    On the split path (see ``CompoundBNBackbone``) the group of an image's class is its component, with certainty:
    each group is normalised by its own moments and by the affine vectors of its component, and its moments enter the
    component's moving statistics at the rate ``split_momentum``.

    ``weight`` and ``bias``, shape ``(K, C)``, are views of the parameters, so that initialisers work and converters to
    SyncBN fail; ``sync=True`` synchronises over the ranks. The state of a plain batch norm can be loaded: every
    component gets its vectors, and means apart by ``spread``.

    Args:
        num_features (int): Channels C.
        eps (float): ε. Defaults to 1e-5.
        momentum (float, optional): Rate of the moving statistics; None: cumulative mean. Defaults to 0.1.
        affine (bool): Must be True.
        track_running_stats (bool): Must be True.
        device (torch.device, optional): Device of the parameters.
        dtype (torch.dtype, optional): Dtype of the parameters.
        **options: See :class:`CompoundOptions`.

    Raises:
        ValueError: If an option is out of range, unknown or one of ``CompoundBNBackbone``; in training, if the batch
            has fewer than two values a channel.
    """

    def __init__(self,
                 num_features: int,
                 eps: float = 1e-5,
                 momentum: float | None = 0.1,
                 affine: bool = True,
                 track_running_stats: bool = True,
                 device: torch.device | None = None,
                 dtype: torch.dtype | None = None,
                 **options: Any) -> None:
        misplaced = [name for name in ENTRY_POINT_OPTIONS if name in options]
        if misplaced:
            raise ValueError(f'{misplaced[0]}={options[misplaced[0]]!r} in norm_cfg: a norm layer is built alone. Use '
                             f"backbone=dict(type='CompoundBNBackbone', base=..., compound=dict({misplaced[0]}=...)) "
                             "and norm_cfg=dict(type='BN').")
        for name, value in (('affine', affine), ('track_running_stats', track_running_stats)):
            if not value:
                raise ValueError(f'{name}={value!r}: CompoundBN needs it. Drop `{name}` from norm_cfg.')
        check_eps(eps, type(self).__name__)
        self.options = CompoundOptions.from_dict(options)
        self.group_size = self.options.group_size or num_features
        if num_features % self.group_size:
            raise ValueError(f'group_size={self.group_size} does not divide the {num_features} channels of the layer; '
                             'choose a divisor, or None for one group.')
        super().__init__(num_features, eps, momentum, True, True, device=device, dtype=dtype)
        object.__setattr__(self, '_owner', None)
        self.entropy: Tensor | None = None
        shape = (self.num_components, num_features)
        for name in ('weight', 'bias'):
            self._parameters[name] = nn.Parameter(self._parameters[name].new_empty(shape))
        for name in ('running_mean', 'running_var'):
            self._buffers[name] = self._buffers[name].new_empty(shape)
        self.register_buffer('mixing', self.running_var.new_empty(num_features // self.group_size, shape[0]))
        if self.options.affine is not None:
            register_magnitude(self, 'magnitude', self.options.affine, self._parameters['weight'])
        self.reset_parameters()

    @classmethod
    def from_batch_norm(cls, bn: _BatchNorm, options: CompoundOptions, owner: nn.Module | None = None) -> 'CompoundBN':
        """The layer whose components all have the vectors, and around whose means are the statistics, of ``bn``.

        Args:
            bn (_BatchNorm): An affine batch norm with running statistics.
            options (CompoundOptions): The options.
            owner (CompoundOwner, optional): Holds the magnitude and knows the groups of the split path.
        """
        layer = cls(bn.num_features, bn.eps, bn.momentum, device=bn.weight.device, dtype=bn.weight.dtype,
                    **{name: getattr(options, name) for name in options.names()})
        layer.load_state_dict(bn.state_dict(), strict=False)
        for name in ('weight', 'bias'):
            layer._parameters[name].requires_grad_(bn._parameters[name].requires_grad)
        layer.train(bn.training)
        if owner is not None:
            for store in (layer._parameters, layer._buffers):
                store.pop('magnitude', None)
            object.__setattr__(layer, '_owner', owner)  # no child: the magnitude is counted once
        return layer

    # -- parameters ---------------------------------------------------------------------------------------------------
    @property
    def num_components(self) -> int:
        """Components K."""
        return self.options.num_components

    @property
    def weight(self) -> Tensor:
        """The effective weights, shape ``(K, C)``; without ``nbn`` a view of the parameter."""
        return self._effective('weight')

    @property
    def bias(self) -> Tensor:
        """The effective biases, shape ``(K, C)``; without ``nbn`` a view of the parameter."""
        return self._effective('bias')

    def _effective(self, name: str) -> Tensor:
        vectors = self.__dict__.get('_parameters', {}).get(name)
        if vectors is None:  # while torch registers it
            raise AttributeError(name)
        affine = self.options.affine
        if affine is None:
            return vectors.view(vectors.shape)
        magnitude = (self if self._owner is None else self._owner).magnitude
        delta = affine.smooth_delta if name == 'bias' else None
        return effective_vector(vectors, magnitude, affine.norm_eps, affine.normalize, delta)

    def reset_running_stats(self) -> None:
        """Means at the seeded start, variances 1, equal mixing weights, no batch seen."""
        if 'mixing' in self._buffers:  # else torch is still building
            start = asymmetric_start(self.num_components, self.num_features, self.options.spread, self.options.seed)
            with torch.no_grad():
                self.running_mean.copy_(start)
                self.running_var.fill_(1)
                self.mixing.fill_(1 / self.num_components)
            self.num_batches_tracked.zero_()
        self._placed = False

    def reset_parameters(self) -> None:
        """Weights 1, biases 0 (random directions with ``zero_bias='random'``), statistics at their start."""
        self.reset_running_stats()
        nn.init.ones_(self._parameters['weight'])
        nn.init.zeros_(self._parameters['bias'])
        if self.options.affine is not None and self.options.affine.zero_bias == 'random':
            for row in self._parameters['bias'].data.unbind():
                random_direction(row)

    # -- forward ------------------------------------------------------------------------------------------------------
    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2 or input.size(1) != self.num_features:
            raise ValueError(f'CompoundBN of {self.num_features} channels expects an input (N, {self.num_features}, '
                             f'*), got shape {tuple(input.shape)}.')

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C, *)``."""
        self._check_input_dim(input)
        with torch.autocast(input.device.type, enabled=False):
            x = input.to(torch.promote_types(input.dtype, torch.float32))
            flat = x.flatten(2) if x.dim() > 2 else x.t().unsqueeze(0)
            out = self._normalise(flat, in_columns=x.dim() == 2)
            out = out.reshape(x.shape) if x.dim() > 2 else out.squeeze(0).t()
            return out.to(input.dtype)

    def _normalise(self, x: Tensor, in_columns: bool) -> Tensor:
        """``(N, C, S)``, or ``(1, C, N)`` with the images in columns."""
        sync = self.options.sync and self.training and sync_world_size() > 1
        centre = self._centre(x, sync)
        centred = (x - centre.unsqueeze(-1)).unflatten(1, (-1, self.group_size))
        squared = centred.square()
        state = self._state(centre)
        membership = None if self._owner is None else self._owner.membership
        with torch.no_grad():
            r = self._expectation(centred, squared, state, membership, in_columns)
        mean, var = state.mean, state.var
        if self.training:
            batch = weighted_moments(centred, squared, r, sync)
            if membership is None:
                count, enough = batch.count, batch.count >= MIN_COUNT
                self._check_total(x, count)
            else:
                count, enough = self._owner.images_of_groups(sync)
            mean = torch.where(enough.unsqueeze(-1), batch.mean, mean)
            var = torch.where(enough.unsqueeze(-1), batch.var, var)
            self._move(batch, enough, centre, membership is not None)
        weight, bias = (self._by_group(vectors.to(x.dtype)) for vectors in (self.weight, self.bias))
        return mix_normalised(centred, r, mean, var, weight, bias, self.eps).flatten(1, 2)

    def _by_group(self, vectors: Tensor) -> Tensor:
        """``(K, C)`` to ``(G, K, D)``."""
        return vectors.unflatten(1, (-1, self.group_size)).transpose(0, 1)

    @torch.no_grad()
    def _centre(self, x: Tensor, sync: bool) -> Tensor:
        """What is subtracted from each channel first, shape ``(C, )``: the batch's mean, or the mixture's at test."""
        if not self.training:
            weights = self.mixing / self.mixing.sum(-1, keepdim=True)
            return (self._by_group(self.running_mean) * weights.unsqueeze(-1)).sum(1).flatten().to(x.dtype)
        if not self._placed:  # asked once, because it waits for the device
            self._placed = self.num_components == 1 or bool(self.num_batches_tracked > 0)
        if self._placed:
            return global_moments(x)[1] if sync else x.mean((0, 2))
        # the start was in units of the first batch
        if sync:
            count, mean, squares = global_moments(x)
            var = squares / count
        else:
            var, mean = torch.var_mean(x, dim=(0, 2), correction=0)
        deviation = var.sqrt().to(self.running_mean.dtype)
        self.running_mean.mul_(deviation).add_(mean.to(self.running_mean.dtype))
        self.running_var.mul_(deviation.square())
        self._placed = True
        return mean

    @torch.no_grad()
    def _state(self, centre: Tensor) -> Moments:
        """The moving statistics, relative to the centre; the mixing weights for a count."""
        mean = self._by_group(self.running_mean.to(centre.dtype) - centre)
        return Moments(self.mixing.to(centre.dtype), mean, self._by_group(self.running_var.to(centre.dtype)))

    def _expectation(self, centred: Tensor, squared: Tensor, state: Moments, membership: Tensor | None,
                     in_columns: bool) -> Tensor:
        """Responsibilities ``(N, G, K, S)``: by the mixture, or those of the split path."""
        if membership is not None:  # (N, K)
            number = membership.t()[None, None] if in_columns else membership[:, None, :, None]
            return number.to(centred.dtype).expand(-1, centred.size(1), -1, centred.size(3))
        logs = log_densities(centred, squared, state.mean, state.var + self.eps)
        r, entropy = responsibilities(logs, state.count.clamp(min=MIN_MIXING), self.group_size**-self.options.tempering)
        if self.training:
            self.entropy = entropy
        return r

    def _check_total(self, x: Tensor, count: Tensor) -> None:
        # Enough values here are enough overall; asking the device only otherwise keeps the forward asynchronous.
        if x.size(0) * x.size(2) < MIN_COUNT and count[0].sum() < MIN_COUNT - 0.5:
            raise ValueError('CompoundBN needs at least two values a channel in training. Raise '
                             'train_dataloader.batch_size.')

    @torch.no_grad()
    def _move(self, batch: Moments, enough: Tensor, centre: Tensor, split: bool) -> None:
        """Let the moving statistics follow the batch."""
        total = batch.count.sum(-1, keepdim=True)
        unbiased = batch.count / (batch.count - 1).clamp(min=1)
        if split:
            rate = torch.where(enough, self.options.split_momentum, 0.0).to(total.dtype).expand_as(batch.count)
        else:
            self.num_batches_tracked.add_(1)
            momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            rate = moving_rate(batch.count, total, momentum, self.options.damping, enough)
            self.mixing.lerp_((batch.count / total.clamp(min=1)).to(self.mixing.dtype), momentum)
        mean = batch.mean + centre.unflatten(0, (-1, 1, self.group_size))
        for running, new in ((self.running_mean, mean), (self.running_var, batch.var * unbiased.unsqueeze(-1))):
            grouped = self._by_group(running)
            grouped.copy_(grouped + rate.unsqueeze(-1).to(running.dtype) * (new.to(running.dtype) - grouped))

    # -- loading ------------------------------------------------------------------------------------------------------
    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                              error_msgs) -> None:
        held = {name: state_dict.get(prefix + name) for name in ('weight', 'bias', 'running_mean', 'running_var')}
        plain = {name: value for name, value in held.items() if value is not None and value.dim() == 1}
        if plain and prefix + 'mixing' not in state_dict:
            state_dict = dict(state_dict)
            for name, value in plain.items():
                state_dict[prefix + name] = value.expand(self.num_components, -1)
            if 'running_mean' in plain and held['running_var'] is not None:
                start = asymmetric_start(self.num_components, self.num_features, self.options.spread,
                                         self.options.seed).to(plain['running_mean'])
                if start.shape == state_dict[prefix + 'running_mean'].shape:
                    state_dict[prefix + 'running_mean'] = plain['running_mean'] + held['running_var'].sqrt() * start
            state_dict[prefix + 'mixing'] = torch.full_like(self.mixing, 1 / self.num_components)
        self._placed = False
        if held['running_mean'] is not None and prefix + 'num_batches_tracked' not in state_dict:
            # an old checkpoint: its statistics are those of many batches, in the units of its features
            state_dict = dict(state_dict, **{prefix + 'num_batches_tracked': torch.ones_like(self.num_batches_tracked)})
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                                      error_msgs)

    def extra_repr(self) -> str:
        """Arguments and options."""
        options = ', '.join(f'{name}={getattr(self.options, name)!r}' for name in self.options.names())
        return f'{self.num_features}, eps={self.eps}, momentum={self.momentum}, {options}'
