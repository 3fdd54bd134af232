"""What :class:`~nbn_mm.engine.hooks.StageHook` changes during a run."""
from .attributes import resolve, set_attribute
from .checks import check_loaded, check_modules, check_state, check_units, reweighted
from .freezing import check_wrapper, learnable_names, set_learnable, wrap_anew
from .norm_policy import layers_in_eval_mode
from .reinitialise import reinitialise, restart_averages
from .sampler_switch import build_sampler, check_length, install, is_epoch_loop, sampler_name, with_sampler
from .stage import Stage, State, parse_stages, state_after

__all__ = [
    'Stage', 'State', 'build_sampler', 'check_length', 'check_loaded', 'check_modules', 'check_state', 'check_units',
    'check_wrapper', 'install', 'is_epoch_loop', 'layers_in_eval_mode', 'learnable_names', 'parse_stages',
    'reinitialise', 'resolve', 'restart_averages', 'reweighted', 'sampler_name', 'set_attribute', 'set_learnable',
    'state_after', 'with_sampler', 'wrap_anew'
]
