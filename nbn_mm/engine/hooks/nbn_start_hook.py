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
from ...models.layers.magnitude import MagnitudeHolder
from ...models.placement import NBNOwner, fold
from ...models.placement.apply import OWNER_NAME

WARN_ABOVE = 0.1


def as_loaded(backbone: nn.Module) -> nn.Module:
    """The BN network whose vectors an untrained NBN backbone holds: its directions, as they were loaded.

    A loaded bias of 0 is an exception under ``zero_bias='random'``, which replaces it.

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

    The first batch passes the backbone as it is and as the plain BN network that was loaded, on the main process, both
    as copies in evaluation mode; random numbers, statistics and modes of the training stay untouched. Without BN
    weights to compare with (a random start, or a checkpoint that brought its magnitude) it says so. A resumed training
    and a model without NBN log nothing.
    """
    # Before anything of the first iteration.
    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Measure at the first iteration."""
        if runner.iter > 0 or not is_main_process():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name, backbone in nbn_backbones(model).items():
            holders = [module for module in backbone.modules() if isinstance(module, MagnitudeHolder)]
            if not any(holder.loaded_plain for holder in holders):
                runner.logger.info(f'NBN in {name}: no BN weights were loaded (a random start, or a checkpoint with '
                                   'its magnitude), so there is no pretrained network to compare the start with.')
                continue
            data = model.data_preprocessor(copy.deepcopy(data_batch), False)
            inputs = data.get('inputs') if isinstance(data, dict) else None
            if not torch.is_tensor(inputs):
                runner.logger.info(f'NBN in {name}: a batch is not one tensor of images, so the start is not compared '
                                   'with the pretrained network.')
                continue
            changes = change_of_outputs(backbone, inputs)
            line = (f'NBN in {name} (init_magnitude={holders[0].options.init_magnitude!r}) changes the outputs of the '
                    f"pretrained network by {', '.join(f'{change:.3g}' for change in changes)} of their norm (one "
                    'number a level).')
            if max(changes) > WARN_ABOVE:
                runner.logger.warning(f"{line} With nbn.init_magnitude='pretrained' the first network would equal the "
                                      'pretrained one.')
            else:
                runner.logger.info(line)


def nbn_backbones(model: nn.Module) -> dict[str, nn.Module]:
    """Name → network with NBN: those of ``NBNBackbone``, else ``model.backbone`` with layers of their own magnitude."""
    placed = {name: module for name, module in model.named_modules()
              if isinstance(getattr(module, OWNER_NAME, None), NBNOwner)}
    own = getattr(model, 'backbone', None)
    if not placed and own is not None and any(isinstance(module, NBN) for module in own.modules()):
        return dict(backbone=own)
    return placed
