"""What changes during a run: sampler, what learns, batch norm, re-weighting."""
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import nn

from .. import stages as parts
from .checkpoint_guard_hook import unwrapped

KEY = 'stages_begun'


@HOOKS.register_module()
class StageHook(Hook):
    """Change parts of a run from an epoch or an iteration on.

    Stands in ``default_hooks`` under the name ``stage``::

        default_hooks = dict(stage=dict(type='StageHook', stages=[
            dict(begin=6, sampler=dict(type='ClassBalancedSampler', num_samples_per_class=4),
                 freeze=[r'^backbone\\.'], norm='frozen', reinit=['head.fc'])]))

    Everything is a function of the epoch or iteration, so that a resumed run goes on as if nothing had happened. What a
    key says holds until a later stage gives the key anew; ``set`` goes by path. The keys of a stage:

    - ``begin`` (int), ``by_epoch`` (bool, True): when it begins, counted from 0.
    - ``sampler`` (dict): of the training data loader; None goes back to that of ``train_dataloader``. Its epochs count
      from the begin of the stage. Not within an epoch.
    - ``freeze`` (list[str]): regular expressions of names of parameters that stop learning; neither momentum nor weight
      decay moves them. ``train``: exceptions.
    - ``norm`` (str): ``'train'``; ``'frozen'``: statistics and affine parameters of batch norm stay as they are;
      ``'shifted'``: the statistics move on, the affine parameters stay (Zhong et al., MiSLAS, CVPR 2021,
      arXiv:2104.00466); ``'magnitude'``: frozen but for NBN's magnitude (Table VIII of the NBN paper, NBN*). Batch norm
      in re-initialised modules trains.
    - ``reinit`` (list[str]): modules that get the values that a run with this seed begins with; their momenta are
      dropped.
    - ``reweight`` (bool): calls ``set_reweighting`` of every module of the model that has it.
    - ``set`` (dict): dotted path, beginning with ``model``, ``optim_wrapper``, ``train_loop`` or ``runner`` → value.
    - ``needs_checkpoint`` (bool): whether a run without ``load_from`` (or resumed) is an error. Defaults to True for a
      stage that freezes from the start.

    The learning rate is the business of ``param_scheduler``: ``CosineRestartLR`` starts anew for a stage.

    With several processes the model is wrapped anew when other parameters learn. An ``EMAHook``'s averages of frozen
    and re-initialised parameters begin anew at the stage, so that its network fits together.

    Args:
        stages (list[dict]): The stages in the order of ``begin``, all counted alike.

    Raises:
        ValueError: Before training, with the value and the key to change.
        RuntimeError: If a stage needs a checkpoint and none was loaded, or a resumed one was saved without its stages.
    """
    # Before all hooks that look at the data loader.
    priority = 'HIGHEST'

    def __init__(self, stages: Sequence[dict]) -> None:
        self.stages = parts.parse_stages(stages)
        self._freezes = any({'freeze', 'norm'} & set(stage.given) for stage in self.stages)
        self.begun = 0
        self._started = False
        self._loaded = False
        self._record: int | None = None
        self._initially: set[str] = set()
        self._in_eval_mode: list[nn.Module] = []
        self._samplers: dict[int, Any] = {}
        self._seed = 0

    # -- checkpoints --------------------------------------------------------------------------------------------------
    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Note the checkpoint and the stages that had begun in it."""
        self._loaded = True
        if runner._resume:
            self._record = checkpoint.get('meta', {}).get(KEY)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Write how many stages have begun."""
        checkpoint['meta'][KEY] = self.begun

    # -- checks -------------------------------------------------------------------------------------------------------
    def before_train(self, runner: Any) -> None:
        """Check all stages before the first step."""
        parts.check_units(self.stages, runner.train_loop)
        parts.check_loaded(self.stages, self._loaded)
        model = unwrapped(runner.model)
        self._initially = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._seed = _common_seed(runner)
        for index, stage in enumerate(self.stages):
            state = parts.state_after(self.stages[:index + 1])
            parts.check_state(runner, model, self._initially, state, _roots(runner))
            parts.check_modules(runner, model, stage.reinit, index)
            if 'sampler' in stage.given:
                sampler = parts.build_sampler(runner, stage.given['sampler'], self._seed)
                if parts.is_epoch_loop(runner.train_loop):
                    loader = runner.train_loop.dataloader
                    changed = parts.with_sampler(loader, sampler, runner.cfg.get('train_dataloader'))
                    parts.check_length(loader, changed, stage.given['sampler'])
                self._samplers[stage.begin] = sampler

    # -- the run ------------------------------------------------------------------------------------------------------
    def before_train_epoch(self, runner: Any) -> None:
        """Begin the stages of this epoch; at the start, set what the epoch or iteration says."""
        if self._started:
            self._advance(runner)
            return
        self._started = True
        if self._record is not None:
            self.begun = self._record
        elif runner._resume and self._loaded:
            self._check_missed(runner)
        self._enter(runner, self._due(runner), start=True)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Begin the stages of this iteration; keep batch norm in the mode of the policy, which the loop resets."""
        if not self.stages[0].by_epoch:
            self._advance(runner)
        for layer in self._in_eval_mode:
            layer.eval()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """A loop over iterations fetches the next batch before the hooks of its iteration: change its sampler now."""
        if parts.is_epoch_loop(runner.train_loop):
            return
        following = runner.iter + 1
        if following in self._samplers:
            parts.install(runner, self._samplers[following], following, following, resuming=False)

    def _due(self, runner: Any) -> int:
        position = runner.epoch if self.stages[0].by_epoch else runner.iter
        return sum(stage.begin <= position for stage in self.stages)

    def _check_missed(self, runner: Any) -> None:
        """A resumed checkpoint without a record: it was saved by a run without this hook."""
        position = runner.epoch if self.stages[0].by_epoch else runner.iter
        missed = [stage for stage in self.stages if stage.begin < position and stage.reinit]
        if missed:
            raise RuntimeError(f'resume: the checkpoint ({position} done) was saved by a run without StageHook, whose '
                               f'stage at {missed[0].begin} re-initialises {list(missed[0].reinit)}. Start that stage '
                               'with `load_from`, or resume without the hook.')

    def _advance(self, runner: Any) -> None:
        due = self._due(runner)
        if due != self.begun:
            self._enter(runner, due)

    def _enter(self, runner: Any, due: int, start: bool = False) -> None:
        model = unwrapped(runner.model)
        beginning = self.stages[self.begun:due]
        state = parts.state_after(self.stages[:due])
        before = parts.state_after(self.stages[:self.begun])
        modules = [name for stage in beginning for name in stage.reinit]
        if modules:
            parts.reinitialise(runner, model, modules, self._seed)
        for path, value in state.set.items():
            parts.set_attribute(_roots(runner), path, value)
        if state.set:
            for module in model.modules():
                if hasattr(module, 'forget_class_vectors'):  # a loss whose vectors may depend on what was set
                    module.forget_class_vectors()
        if any('reweight' in stage.given for stage in self.stages):
            for module in parts.reweighted(model):
                module.set_reweighting(bool(state.reweight))
        learnable = parts.learnable_names(model, self._initially, state)
        stopped = parts.learnable_names(model, self._initially, before) - learnable if beginning else set()
        # stages that freeze nothing leave alone what others do with requires_grad
        if self._freezes and parts.set_learnable(model, learnable):
            parts.wrap_anew(runner)
        self._in_eval_mode = parts.layers_in_eval_mode(model, state.norm, state.reinit)
        if beginning:
            fresh = {name for name, _ in model.named_parameters()
                     if any(name == module or name.startswith(f'{module}.') for module in modules)}
            still = {id(layer) for layer in self._in_eval_mode}
            kept = [name for name, module in model.named_modules() if id(module) in still]
            parts.restart_averages(runner, model, stopped | fresh, [*modules, *kept])
        self._set_sampler(runner, state, start)
        self.begun = due
        if due:
            self._log(runner, state, learnable, modules)

    def _log(self, runner: Any, state: parts.State, learnable: set[str], modules: list[str]) -> None:
        stage, number = self.stages[self.begun - 1], f'{self.begun} of {len(self.stages)}'
        runner.logger.info(
            f'StageHook: stage {number} from {"epoch" if stage.by_epoch else "iteration"} {stage.begin} on: '
            f'{len(learnable)} of {len(self._initially)} parameters learn, batch norm: {state.norm}, sampler: '
            f'{parts.sampler_name(runner.train_loop.dataloader)}'
            + (f', re-initialised: {", ".join(modules)}' if modules else '') + '.')

    def _set_sampler(self, runner: Any, state: parts.State, start: bool) -> None:
        if state.sampler_begin is None:
            return
        by_epoch = self.stages[0].by_epoch
        position = runner.epoch if by_epoch else runner.iter
        if start or (by_epoch and any(stage.begin == state.sampler_begin for stage in self.stages[self.begun:])):
            parts.install(runner, self._samplers[state.sampler_begin], state.sampler_begin, position, resuming=start)


def _common_seed(runner: Any) -> int:
    """The seed of rank 0, which differs from those of other ranks under ``diff_rank_seed``."""
    seed = torch.tensor(runner.seed, dtype=torch.int64, device=next(unwrapped(runner.model).parameters()).device)
    broadcast(seed)
    return int(seed)


def _roots(runner: Any) -> dict[str, Any]:
    return dict(model=unwrapped(runner.model), optim_wrapper=runner.optim_wrapper, train_loop=runner.train_loop,
                runner=runner)
