"""Weight decay of NBN's directions and magnitudes as settings of their own."""
import math
from numbers import Real
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ...models.layers import NBN, CompoundBN
from ...models.placement import CompoundOwner, NBNOwner

KINDS = ('direction', 'magnitude')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class NBNOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor with two more options in ``paramwise_cfg``.

    The decay of a direction changes only its effective step and that of a magnitude the scale of the network, so
    neither follows ``norm_decay_mult``, ``bias_decay_mult`` or ``flat_decay_mult``. Bao et al., Normalizing Batch
    Normalization for Long-Tailed Recognition, TIP 2024, arXiv:2501.03122, decay both like all other weights: the
    defaults.

    Parameters of equal settings form one group, so that foreach and fused optimisers stay fast.

    .. code-block:: python

        optim_wrapper = dict(
            constructor='NBNOptimWrapperConstructor',
            paramwise_cfg=dict(norm_decay_mult=0., direction_decay_mult=1.0, magnitude_decay_mult=0.))

    Args:
        optim_wrapper_cfg (dict): As in the default constructor.
        paramwise_cfg (dict, optional): As in the default constructor, and

            - ``direction_decay_mult`` (float): Times the weight decay for weight and bias of NBN layers, and of
              CompoundBN layers with ``nbn``. Defaults to 1.
            - ``magnitude_decay_mult`` (float): Times the weight decay for magnitudes. Defaults to 1.

            A ``custom_keys`` entry that matches sets the rest as usual, and the decay only if it has ``decay_mult``.

    Raises:
        ValueError: If a multiplier is negative or no number, or is given for an optimiser without ``weight_decay``; or
            if the optimiser has no ``lr``.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        cfg = dict(paramwise_cfg) if isinstance(paramwise_cfg, dict) else paramwise_cfg
        given = [kind for kind in KINDS if isinstance(cfg, dict) and f'{kind}_decay_mult' in cfg]
        self.nbn_mults = {kind: cfg.pop(f'{kind}_decay_mult') if kind in given else 1.0 for kind in KINDS}
        super().__init__(optim_wrapper_cfg, cfg)
        for kind, mult in self.nbn_mults.items():
            if not isinstance(mult, Real) or isinstance(mult, bool) or not math.isfinite(mult) or mult < 0:
                raise ValueError(f'optim_wrapper.paramwise_cfg.{kind}_decay_mult={mult!r} must be a number >= 0.')
        if given and self.base_wd is None:
            raise ValueError(f'optim_wrapper.paramwise_cfg.{given[0]}_decay_mult is a factor of weight_decay, which is '
                             'not set: add optim_wrapper.optimizer.weight_decay.')
        if self.base_lr is None:
            raise ValueError('NBNOptimWrapperConstructor needs optim_wrapper.optimizer.lr.')
        # Not empty, or the default constructor would pass the parameters on without groups.
        self.paramwise_cfg = {**self.paramwise_cfg, 'nbn': self.nbn_mults}
        self._nbn_decays: dict[str, list[float]] = {}

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '',
                   is_dcn_module: int | float | None = None) -> None:
        """Add all parameters of ``module``; at the root, merge the groups of equal settings and log NBN's decays.

        Args:
            params (list[dict]): Parameter groups, extended in place.
            module (nn.Module): The module.
            prefix (str): Its name; empty at the root.
            is_dcn_module (int | float, optional): As in the default constructor.
        """
        if prefix == '':
            self._nbn_decays = {kind: [] for kind in KINDS}
        if isinstance(module, (CompoundOwner, NBNOwner)):
            self._add_as(params, dict(module.named_parameters()), prefix, 'magnitude')
        elif isinstance(module, NBN) or (isinstance(module, CompoundBN) and module.options.affine is not None):
            own = dict(module.named_parameters(recurse=False))
            directions = {name: own.pop(name) for name in ('weight', 'bias')}
            self._add_as(params, directions, prefix, 'direction')
            self._add_as(params, own, prefix, 'magnitude')
        else:
            super().add_params(params, module, prefix, is_dcn_module)
        if prefix == '':
            params[:] = self._merge(params)
            self._log()

    def _add_as(self, params: list[dict], parameters: dict[str, nn.Parameter], prefix: str, kind: str) -> None:
        """Let the default constructor add parameters whose decay multiplier is that of ``kind``."""
        cfg, start = self.paramwise_cfg, len(params)
        mult = dict(decay_mult=self.nbn_mults[kind])
        keys = {key: {**mult, **value} for key, value in cfg.get('custom_keys', {}).items()}
        keys.setdefault('', mult)  # matches every name, and last because it is the shortest
        for name, parameter in parameters.items():
            parent, _, leaf = f'{prefix}.{name}'.lstrip('.').rpartition('.')
            holder = nn.Module()
            holder.register_parameter(leaf, parameter)
            self.paramwise_cfg = {'custom_keys': keys, 'bypass_duplicate': cfg.get('bypass_duplicate', False)}
            try:
                super().add_params(params, holder, parent)
            finally:
                self.paramwise_cfg = cfg
        self._nbn_decays[kind] += [group.get('weight_decay', self.base_wd) for group in params[start:]]

    def _merge(self, params: list[dict]) -> list[dict]:
        """One group for each set of settings, in the order of first appearance."""
        merged: dict[str, dict] = {}
        defaults = {'lr': self.base_lr, 'weight_decay': self.base_wd}
        for group in params:
            settings: dict[str, Any] = {k: v for k, v in defaults.items() if v is not None}
            # The multipliers of custom_keys have done their work in lr and weight_decay.
            settings.update({k: v for k, v in group.items() if k not in ('params', 'lr_mult', 'decay_mult')})
            key = repr(sorted(settings.items(), key=lambda item: item[0]))
            merged.setdefault(key, {'params': [], **settings})['params'] += group['params']
        return list(merged.values())

    def _log(self) -> None:
        for kind, decays in self._nbn_decays.items():
            values = ', '.join(f'{decay:g}' if decay is not None else 'not set' for decay in dict.fromkeys(decays))
            print_log(f'NBN: {len(decays)} learnable {kind} parameters, weight decay {values or "-"} '
                      f'({kind}_decay_mult={self.nbn_mults[kind]})', logger='current')
