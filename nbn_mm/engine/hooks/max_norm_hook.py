"""MaxNorm: the weight vectors of a classifier stay within a ball.

Alshammari et al., Long-Tailed Recognition via Weight Balancing, CVPR 2022, arXiv:2203.14197: the weight vector of every
class is projected onto the L2 ball of a radius, so that small weights may grow and large ones are capped. The paper
pairs it with a weight decay of the classifier of its own. Here after each step of the optimiser, in the released code
after each epoch.
"""
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor, nn

from .stage_hook import StageHook

KEY = 'max_norm_radius'


@torch.no_grad()
def project_rows(weight: Tensor, radius: float) -> Tensor:
    r"""Project each row onto the L2 ball, in place: :math:`w_k \leftarrow w_k \min(1, \delta / \lVert w_k \rVert)`.

    Args:
        weight (Tensor): Shape ``(C, D)``.
        radius (float): :math:`\delta`.

    Returns:
        Tensor: ``weight``. A row within the ball keeps its bits.
    """
    norm = weight.norm(dim=1, keepdim=True)
    factor = torch.where(norm > radius, radius / norm, torch.ones_like(norm))
    return weight.mul_(factor)


def initial_radius(weight: Tensor, fraction: float) -> float:
    r"""A radius between the smallest and the largest norm of the rows: :math:`n_{min} + f (n_{max} - n_{min})`.

    Args:
        weight (Tensor): Shape ``(C, D)``.
        fraction (float): :math:`f`, 0 … 1.
    """
    norm = weight.detach().norm(dim=1)
    return float(norm.min() + fraction * (norm.max() - norm.min()))


@HOOKS.register_module()
class MaxNormHook(Hook):
    """Project the weight vectors of a linear classifier after each step of the optimiser.

    Biases are left alone. Stands in ``default_hooks``::

        default_hooks = dict(max_norm=dict(type='MaxNormHook', fraction=0.1, begin=6))

    The radius is ``radius``, or is taken once, where the projection begins, from the norms that the classifier then has
    (``fraction``, as in the authors' code); it is kept in the checkpoint's ``meta`` for resumed runs.

    Args:
        module (str): Name of the linear classifier in the model. Defaults to ``'head.fc'``.
        radius (float, optional): The radius. Exactly one of ``radius`` and ``fraction`` must be given.
        fraction (float, optional): 0: the smallest norm of a class, 1: the largest. 0.1 in the authors' code.
        begin (int): The epoch (or iteration) from which to project. Defaults to 0.
        by_epoch (bool): Whether ``begin`` counts epochs. Defaults to True.
        weight_decay (float, optional): Weight decay of the classifier from ``begin`` on, where one run holds both
            stages; None: that of the optimiser.

    Raises:
        ValueError: If an option is out of range, the run ends before ``begin``, or the module is missing, is no linear
            classifier, or is one on whose output the norms of its weights have no effect.
    """
    # After the optimiser's step, before averaged weights are taken (EMAHook is NORMAL).
    priority = 'ABOVE_NORMAL'

    def __init__(self,
                 module: str = 'head.fc',
                 radius: float | None = None,
                 fraction: float | None = None,
                 begin: int = 0,
                 by_epoch: bool = True,
                 weight_decay: float | None = None) -> None:
        if (radius is None) == (fraction is None):
            raise ValueError(f'MaxNormHook: give exactly one of radius={radius} and fraction={fraction}.')
        if radius is not None and not 0 < radius < float('inf'):
            raise ValueError(f'MaxNormHook: radius={radius} must be a number greater than 0.')
        if fraction is not None and not 0 <= fraction <= 1:
            raise ValueError(f'MaxNormHook: fraction={fraction} must be in 0 … 1.')
        if begin < 0:
            raise ValueError(f'MaxNormHook: begin={begin} must not be negative.')
        if weight_decay is not None and not 0 <= weight_decay < float('inf'):
            raise ValueError(f'MaxNormHook: weight_decay={weight_decay} must be a number >= 0.')
        self.module = module
        self.radius = radius
        self.fraction = fraction
        self.begin = begin
        self.by_epoch = by_epoch
        self.weight_decay = weight_decay
        self._decays = weight_decay is None

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Take the radius of the run that is resumed."""
        kept = (checkpoint.get('meta') or {}).get(KEY) if isinstance(checkpoint, dict) else None
        if kept is not None and self.fraction is not None and getattr(runner, '_resume', False):
            self.radius = float(kept)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Keep the radius."""
        if self.radius is not None:
            checkpoint.setdefault('meta', {})[KEY] = float(self.radius)

    def before_train(self, runner: Any) -> None:
        """Check the module, that the projection begins within the run, and whose weight decay changes."""
        self._check(runner)
        end, field = (runner.max_epochs, 'max_epochs') if self.by_epoch else (runner.max_iters, 'max_iters')
        if self.begin >= end:
            raise ValueError(f'MaxNormHook: begin={self.begin} is never reached: the run ends at {field}={end}. Change '
                             '`begin` (iterations count with by_epoch=False) or train_cfg.')
        if not self._decays and not any(isinstance(hook, StageHook) for hook in runner.hooks):
            self._own_groups(runner)  # what learns now learns at `begin`, too

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Take the radius where the projection begins, before the first step, and set the weight decay."""
        if not self._decays and self._acts(runner):
            self._set_weight_decay(runner)
        if self.radius is None and self._acts(runner):
            self.radius = initial_radius(self._classifier(runner).weight, self.fraction)
            if not self.radius > 0:
                raise ValueError(f'MaxNormHook: a class of {self.module} has the weight 0, so that fraction='
                                 f'{self.fraction} gives the radius {self.radius}. Load a trained classifier or give '
                                 '`radius`.')
            runner.logger.info(f'MaxNorm: the weights of {self.module} stay within the radius {self.radius:.6g} '
                               f'(fraction {self.fraction}) from {"epoch" if self.by_epoch else "iteration"} '
                               f'{self.begin} on.')

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Project."""
        if self._acts(runner):
            project_rows(self._classifier(runner).weight.data, self.radius)

    def _set_weight_decay(self, runner: Any) -> None:
        for group in self._own_groups(runner):
            group['weight_decay'] = self.weight_decay
        self._decays = True

    def _own_groups(self, runner: Any) -> list[dict]:
        """The groups of the optimiser in which the classifier learns, and nothing else does."""
        own = {id(parameter) for parameter in self._classifier(runner).parameters()}
        groups = []
        for group in runner.optim_wrapper.optimizer.param_groups:
            learning = [id(parameter) in own for parameter in group['params'] if parameter.requires_grad]
            if not any(learning):
                continue
            if not all(learning):
                raise ValueError(f'MaxNormHook: weight_decay={self.weight_decay} is meant for {self.module}, whose '
                                 'parameters share a group of the optimiser with others that learn. Set '
                                 "optim_wrapper.constructor='NBNOptimWrapperConstructor' with a `paramwise_cfg`, or "
                                 'freeze the others (StageHook).')
            groups.append(group)
        return groups

    def _acts(self, runner: Any) -> bool:
        return (runner.epoch if self.by_epoch else runner.iter) >= self.begin

    def _classifier(self, runner: Any) -> nn.Linear:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        return model.get_submodule(self.module)

    def _check(self, runner: Any) -> None:
        try:
            found = self._classifier(runner)
        except AttributeError:
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            near = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
            raise ValueError(f'MaxNormHook: the model has no module {self.module!r}; its linear layers are '
                             f'{", ".join(near) or "none"}. Change `module` of MaxNormHook.') from None
        if not isinstance(found, nn.Linear) or type(found).__name__ != 'Linear':
            raise ValueError(f'MaxNormHook: {self.module} is {type(found).__name__}, not a linear layer: the norms of '
                             "its weights are not those of the logits. Use head.predictor=dict(type='Linear').")
        if hasattr(found, 'logit_rectification'):
            raise ValueError(f'MaxNormHook: {self.module} has logit rectification, behind which the norm of a weight '
                             'has no effect. Remove one of the two.')
