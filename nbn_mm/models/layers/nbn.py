"""Normalizing Batch Normalization (NBN).

Bao et al., Normalizing Batch Normalization for Long-Tailed Recognition, TIP 2024, arXiv:2501.03122: the affine vectors
of a batch norm keep only their direction, their length is one learnable scalar g,

    w̃ = g · w / (‖w‖ + ε),        b̃ = g · b / (‖b‖ + ε).

Known limit of the formula, kept as published by ``zero_bias='published'``: at b = 0, where training starts, the
gradient of b is the incoming one times g / ε = 1e6, so that the first step throws ‖b‖ far out and its direction hardly
moves later.
"""
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .all_reduce_bn import SyncableBatchNorm, adopt_state, check_eps
from .directions import is_zero, random_direction, vector_length
from .joint_vectors import held_vectors, lone_vectors
from .magnitude import LoadedLayer, MagnitudeHolder, register_magnitude
from .nbn_options import NBNOptions

ENTRY_POINT_OPTIONS = ('placement', 'stages', 'pattern', 'share')


@MODELS.register_module()
class NBN(SyncableBatchNorm, MagnitudeHolder):
    """Batch normalisation with normalised affine vectors, for inputs ``(N, C, *)``.

    ``weight`` and ``bias`` are read-only and return the effective vectors w̃ and b̃, computed anew at each access, or
    once for all layers in a forward of the backbone that ``NBNBackbone`` built; the parameters under these names hold
    the directions (:attr:`weight_direction`, :attr:`bias_direction`), so the keys are those of a batch norm. A host
    that zero-initialises ``weight`` hits a temporary and a host that fuses it into a convolution gets the right one.
    Evaluation is ``F.batch_norm`` with the effective vectors.

    Built by ``norm_cfg=dict(type='NBN')`` each layer owns its magnitude ("not sharing" in the paper). Placement and
    sharing need ``NBNBackbone``, whose owner is reached without being a child.

    A layer with its own magnitude that was loaded without it refuses evaluation under ``no_grad`` until it has seen a
    training forward (or, for ``norm_eval``, a forward with gradients) or :meth:`accept_missing_magnitude`.

    Args:
        num_features (int): Channels C.
        eps (float): ε of the batch norm. Defaults to 1e-5.
        momentum (float, optional): As in BatchNorm. Defaults to 0.1.
        affine (bool): Must be True.
        track_running_stats (bool): As in BatchNorm. Defaults to True.
        device (torch.device, optional): Device of the parameters.
        dtype (torch.dtype, optional): Dtype of the parameters.
        **options: See :class:`NBNOptions`.

    Raises:
        ValueError: If ``eps`` or an option is out of range, or an option is unknown or one of ``NBNBackbone``.
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
            given = ', '.join(f'{name}={options[name]!r}' for name in misplaced)
            raise ValueError(f'{given} in norm_cfg: a norm layer is built alone and cannot share or be placed. Use '
                             f"backbone=dict(type='NBNBackbone', base=..., nbn=dict({misplaced[0]}=...)) and "
                             "norm_cfg=dict(type='BN').")
        if not affine:
            raise ValueError('affine=False: NBN normalises weight and bias, so it needs them. Drop `affine` from '
                             'norm_cfg.')
        check_eps(eps, type(self).__name__)
        self.options = NBNOptions.from_dict(options)
        self.sync = self.options.sync
        self.source_type = nn.BatchNorm2d
        self.magnitude_missing = False
        self._held: dict[str, Any] = {}  # the vectors of the forward that runs now, see joint_vectors.py
        super().__init__(num_features, eps, momentum, True, track_running_stats, device=device, dtype=dtype)
        object.__setattr__(self, '_owner', None)
        self.group = ''
        for name in ('magnitude', 'bias_magnitude') if self.options.separate_bias_magnitude else ('magnitude', ):
            register_magnitude(self, name, self.options, self.weight_direction)
        if self.options.records_gains:
            wide = torch.promote_types(self.weight_direction.dtype, torch.float32)
            for name in ('weight_gain', 'bias_gain'):
                self.register_buffer(name, torch.ones((), device=device, dtype=wide))
            self.record_gains()

    @classmethod
    def from_batch_norm(cls, bn: _BatchNorm, options: NBNOptions, owner: nn.Module | None = None,
                        group: str = '') -> 'NBN':
        """The NBN layer on the parameters, statistics and mode of ``bn`` (shared, not copied).

        A weight of zero, which has no direction, becomes 1; a bias of zero follows ``zero_bias``.

        Args:
            bn (_BatchNorm): An affine batch norm.
            options (NBNOptions): The options.
            owner (NBNOwner, optional): The owner of the magnitude; None: the layer owns it.
            group (str): The group of the layer in the owner.
        """
        layer = cls(bn.num_features, bn.eps, bn.momentum, True, bn.track_running_stats, device=bn.weight.device,
                    dtype=bn.weight.dtype, **{name: getattr(options, name) for name in options.names()})
        adopt_state(layer, bn)
        layer.sync = layer.sync or getattr(bn, 'sync', False)
        if is_zero(layer.weight_direction):
            nn.init.ones_(layer.weight_direction)
        if options.zero_bias == 'random' and is_zero(layer.bias_direction):
            random_direction(layer.bias_direction)
        layer.record_gains()
        if owner is not None:
            for name in ('magnitude', 'bias_magnitude'):
                layer._parameters.pop(name, None)
                layer._buffers.pop(name, None)
            object.__setattr__(layer, '_owner', owner)  # no child: the magnitude is counted once
            layer.group = group
            owner.layers.append(layer)
        return layer

    # -- parameters ---------------------------------------------------------------------------------------------------
    @property
    def weight_direction(self) -> nn.Parameter:
        """The parameter w, shape ``(C, )``."""
        return self._parameters['weight']

    @property
    def bias_direction(self) -> nn.Parameter:
        """The parameter b, shape ``(C, )``."""
        return self._parameters['bias']

    @property
    def weight(self) -> Tensor:
        """The effective weight w̃, shape ``(C, )``."""
        return self._effective('weight')

    @property
    def bias(self) -> Tensor:
        """The effective bias b̃, shape ``(C, )``."""
        return self._effective('bias')

    @property
    def owner(self) -> nn.Module | None:
        """The owner of the shared magnitude, or None when the layer has its own."""
        return self._owner

    def get_magnitude(self, name: str = 'weight') -> Tensor:
        """The magnitude g of ``'weight'`` or ``'bias'``, shape ``()``, without gain."""
        if self._owner is not None:
            return self._owner.get_magnitude(self.group, name)
        if name == 'bias' and self.options.separate_bias_magnitude:
            return self.bias_magnitude
        return self.magnitude

    def _effective(self, name: str) -> Tensor:
        if name not in self._parameters:  # while torch registers it: the attribute is not there yet
            raise AttributeError(name)
        if self._assignable:  # torch asks whether there is such an attribute, and no more
            return self._parameters[name]
        try:
            held = held_vectors(self)
            return (lone_vectors(self) if held is None else held)[name]
        except AttributeError as error:  # else nn.Module.__getattr__ would hand out the direction instead
            raise RuntimeError(f'NBN could not compute its effective {name}: {error}') from error

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ('weight', 'bias') and name in self.__dict__.get('_parameters', ()) and not self._assignable:
            raise AttributeError(f'{name} of an NBN layer is the effective vector and read-only; set '
                                 f'{name}_direction.data, or turn the network into a plain BN one first (fold).')
        super().__setattr__(name, value)

    _assignable = False

    @contextmanager
    def _assignment(self) -> Iterator[None]:
        """Lets ``load_state_dict(assign=True)`` put new parameters in place."""
        object.__setattr__(self, '_assignable', True)
        try:
            yield
        finally:
            object.__delattr__(self, '_assignable')

    def reset_parameters(self) -> None:
        """Weight 1, bias 0 or a random direction of norm 1, statistics at their start; the magnitude stays."""
        self.reset_running_stats()
        nn.init.ones_(self.weight_direction)
        nn.init.zeros_(self.bias_direction)
        if self.options.zero_bias == 'random' and not self.bias_direction.is_meta:
            random_direction(self.bias_direction)
        if 'weight_gain' in self._buffers:
            self.record_gains()

    @torch.no_grad()
    def record_gains(self) -> None:
        """Record ‖v‖ + ε of each vector as its gain, so that the effective vector is v at magnitude 1.

        A bias of zero gets the gain 1: it is 0 either way, and a gain of 0 would keep it there.
        """
        if not self.options.records_gains:
            return
        for name, delta in (('weight', None), ('bias', self.options.smooth_delta)):
            vector = self._parameters[name]
            wide = vector.to(torch.promote_types(vector.dtype, torch.float32))
            gain = vector_length(wide, delta).squeeze(-1) + self.options.norm_eps
            if delta is None and is_zero(vector):
                gain = torch.ones_like(gain)
            self._buffers[f'{name}_gain'].copy_(gain)

    # -- forward ------------------------------------------------------------------------------------------------------
    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C, *)``."""
        holder = self._owner if self._owner is not None else self
        if holder.magnitude_missing:
            holder.check_missing_magnitude()
        if held_vectors(self) is not None:
            return super().forward(input)
        outer = self._held
        self._held = dict(lone_vectors(self), with_grad=torch.is_grad_enabled())
        try:
            return super().forward(input)
        finally:
            self._held = outer

    def is_training_forward(self) -> bool:
        """True in training mode and, for a layer in eval mode within training, wherever gradients are recorded."""
        return self.training or torch.is_grad_enabled()

    def magnitudes_by_key(self) -> dict[str, Tensor]:
        """The magnitudes that this layer owns; empty under an owner."""
        if self._owner is not None:
            return {}
        keys = ('magnitude', 'bias_magnitude') if self.options.separate_bias_magnitude else ('magnitude', )
        return {key: getattr(self, key) for key in keys}

    # -- loading ------------------------------------------------------------------------------------------------------
    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                              error_msgs) -> None:
        layer = prefix.rstrip('.') or type(self).__name__
        gains = ('weight_gain', 'bias_gain')
        held_gains = [name for name in gains if prefix + name in state_dict]
        if held_gains and not self.options.records_gains:
            raise ValueError(f"{layer}: the checkpoint holds {held_gains[0]!r}, it was trained with "
                             "init_magnitude='pretrained' (and normalize=True). Set both in nbn=dict(...) of the "
                             'backbone.')
        with self._assignment():
            super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                                          error_msgs)
        if prefix + 'weight' not in state_dict:
            return
        if self.options.normalize and is_zero(self.weight_direction):
            raise ValueError(f'{layer}: the weight is zero after loading, so it has no direction and NBN cannot '
                             'normalise it. The checkpoint was zero-initialised there (zero_init_residual) and hardly '
                             'trained; load another, or choose other layers with nbn.placement or nbn.pattern.')
        if not held_gains:
            missing_keys[:] = [key for key in missing_keys if key not in [prefix + name for name in gains]]
            self.record_gains()
        loaded = LoadedLayer(layer, self, bool(held_gains))
        if self._owner is not None:
            self._owner.note_loaded_layer(loaded)
        else:
            self.finish_loading(state_dict, prefix, [loaded])

    def start_zero_bias(self, name: str) -> None:
        """Give a bias that a plain BN checkpoint left at zero the random start of ``zero_bias='random'``.

        The direction is drawn from ``name``, so that all ranks draw the same. With recorded gains the bias stays 0,
        because the first network equals the loaded one.
        """
        if self.options.zero_bias != 'random' or self.options.records_gains or not is_zero(self.bias_direction):
            return
        random_direction(self.bias_direction, torch.Generator().manual_seed(zlib.crc32(name.encode())))

    def extra_repr(self) -> str:
        """Arguments and options."""
        options = ', '.join(f'{name}={getattr(self.options, name)!r}' for name in self.options.names())
        shared = f', group={self.group!r}' if self._owner is not None else ''
        return f'{super().extra_repr()}, {options}{shared}'
