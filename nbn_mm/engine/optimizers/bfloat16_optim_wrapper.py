"""Training in bfloat16 without a loss scale."""
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner.amp import autocast
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """mmengine's ``OptimWrapper`` whose forward runs under autocast to bfloat16; weights and optimiser stay float32.

    bfloat16 has the range of float32, so it needs no loss scale. mmengine's ``AmpOptimWrapper(dtype='bfloat16')`` keeps
    one: it looks at all gradients and waits for the device in each step, and it refuses to run on a CPU, where this one
    serves to try a config::

        optim_wrapper = dict(type='BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=0.1))

    Args:
        **kwargs: Those of mmengine's ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Forward under autocast, and no gradient synchronisation within an accumulation.

        Args:
            model (nn.Module): The model.
        """
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
