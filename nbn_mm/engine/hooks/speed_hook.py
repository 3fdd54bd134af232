"""Memory format, TF32 and compilation of parts of the model, set from the config."""
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from .checkpoint_guard_hook import unwrapped


@HOOKS.register_module()
class SpeedHook(Hook):
    """Settings that change how fast a network is computed, and at most its rounding.

    Stands in ``default_hooks`` under the name ``speed``; what is not given stays as it is::

        default_hooks = dict(speed=dict(type='SpeedHook', channels_last=True, tf32=True,
                                        compile=dict(modules=['backbone'], mode='reduce-overhead')))

    Parts of the model are compiled in place, so that keys of the state dict stay; ``mode='reduce-overhead'`` replays
    CUDA graphs. The config's ``compile`` of mmengine is another way, which compiles the whole training step.

    Args:
        channels_last (bool): Whether convolution weights, and with them all activations, have their channels last in
            memory. Defaults to False.
        tf32 (bool, optional): Whether float32 products and convolutions on a GPU may use TF32. Defaults to None:
            torch's settings, which are convolutions yes, products no.
        compile (dict, optional): ``modules``, names of parts of the model, and any argument of ``torch.compile``.

    Raises:
        ValueError: If the model lacks a named part, or ``compile`` names none.
    """
    # After hooks that load weights, before any that times an iteration.
    priority = 'VERY_HIGH'

    def __init__(self, channels_last: bool = False, tf32: bool | None = None, compile: dict | None = None) -> None:
        self.channels_last = channels_last
        self.tf32 = tf32
        self.compile = dict(compile) if compile is not None else None
        if self.compile is not None:
            modules: Sequence[str] = self.compile.pop('modules', ())
            if isinstance(modules, str) or not modules or not all(isinstance(name, str) and name for name in modules):
                raise ValueError(f"SpeedHook: compile.modules={modules!r} must be a list of names of parts of the "
                                 "model, for example ['backbone'].")
            self.modules = list(modules)
        self._done = False

    def before_run(self, runner: Runner) -> None:
        """Set TF32."""
        if self.tf32 is not None:
            torch.backends.cuda.matmul.allow_tf32 = self.tf32
            torch.backends.cudnn.allow_tf32 = self.tf32

    def before_train(self, runner: Runner) -> None:
        """Change the model once it has its weights."""
        self._apply(runner)

    def before_val(self, runner: Runner) -> None:
        """Change the model of a validation that stands alone."""
        self._apply(runner)

    def before_test(self, runner: Runner) -> None:
        """Change the model of a test."""
        self._apply(runner)

    def _apply(self, runner: Runner) -> None:
        if self._done:
            return
        self._done = True
        model = unwrapped(runner.model)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.compile is not None:
            for name in self.modules:
                _part(model, name).compile(**self.compile)
            runner.logger.info(f'SpeedHook: {", ".join(self.modules)} will be compiled at the first iteration.')


def _part(model: nn.Module, name: str) -> Any:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        names = [child for child, _ in model.named_children()]
        raise ValueError(f'SpeedHook: compile.modules names {name!r}, which the model lacks; its parts are {names}.') \
            from error
