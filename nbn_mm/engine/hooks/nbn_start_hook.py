"""Measures how far a network with NBN is from the pretrained BN network it starts from."""
import copy
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ...models.layers import NBN
from ...models.placement import NBNOwner, fold

WARN_ABOVE = 0.1


def as_loaded(backbone: nn.Module) -> nn.Module:
    """The BN network whose vectors an untrained NBN backbone holds: its directions, as they were loaded.

    Args:
        backbone (nn.Module): A backbone with NBN before its first step.

    Returns:
        nn.Module: A plain BN copy in evaluation mode.
    """
    plain = fold(backbone)[0]
    for name, layer in backbone.named_modules():
        if isinstance(layer, NBN):
            norm = plain.get_submodule(name)
            norm.weight.data.copy_(layer.weight_direction.detach())
            norm.bias.data.copy_(layer.bias_direction.detach())
    return plain


@torch.no_grad()
def change_of_outputs(backbone: nn.Module, inputs: Tensor) -> list[float]:
    """Relative change of a backbone's outputs through NBN, ‖f_NBN(x) − f_BN(x)‖ / ‖f_BN(x)‖, in evaluation mode.

    Args:
        backbone (nn.Module): A backbone with NBN before its first step. It is not changed.
        inputs (Tensor): Images, shape ``(N, 3, H, W)``.

    Returns:
        list[float]: One number an output level.
    """
    found = []
    for network in (fold(backbone)[0], as_loaded(backbone)):
        outputs = network(inputs)
        found.append(outputs if isinstance(outputs, (tuple, list)) else [outputs])
    return [float((ours - loaded).double().norm() / loaded.double().norm().clamp(min=1e-30))
            for ours, loaded in zip(*found, strict=True)]


@HOOKS.register_module()
class NBNStartHook(Hook):
    """Log, before the first step of a training, what NBN changes of the pretrained network.

    The first batch passes the backbone as it is and as the plain BN network that was loaded, both as copies in
    evaluation mode; random numbers, statistics and modes of the training stay untouched. A resumed training, a
    checkpoint that brought its magnitude, and a model without NBN log nothing.
    """
    # Before anything of the first iteration.
    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Measure at the first iteration."""
        if runner.iter > 0 or not is_main_process():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbones = [(name, module) for name, module in model.named_modules()
                     if isinstance(getattr(module, 'nbn', None), NBNOwner)]
        for name, backbone in backbones:
            self._log(runner, name, backbone, model, data_batch)

    @staticmethod
    def _log(runner: Runner, name: str, backbone: nn.Module, model: nn.Module, data_batch: Any) -> None:
        owner = backbone.nbn
        start = owner.options.start
        untrained = all(float(value) == start for value in owner.magnitudes_by_key().values())
        if not (untrained and (owner.magnitude_missing or owner.options.starts_as_loaded and _is_loaded(backbone))):
            runner.logger.info(f'NBN in {name}: no BN weights were loaded (a random start, or a checkpoint with its '
                               'magnitude), so there is no pretrained network to compare the start with.')
            return
        inputs = model.data_preprocessor(copy.deepcopy(data_batch), False)['inputs']
        changes = change_of_outputs(backbone, inputs)
        line = (f'NBN in {name} (init_magnitude={owner.options.init_magnitude!r}) changes the outputs of the '
                f"pretrained network by {', '.join(f'{change:.3g}' for change in changes)} of their norm (one number a level).")
        if max(changes) > WARN_ABOVE:
            runner.logger.warning(f"{line} With nbn=dict(init_magnitude='pretrained') the first network would equal "
                                  'the pretrained one.')
        else:
            runner.logger.info(line)


def _is_loaded(backbone: nn.Module) -> bool:
    """Whether the vectors are not those of a new BN (weights 1), which recording gains leaves as they are."""
    return any(not bool((layer.weight_direction == 1).all())
               for layer in backbone.modules() if isinstance(layer, NBN))
