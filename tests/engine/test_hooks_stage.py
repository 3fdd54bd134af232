"""StageHook in real runs: what learns, what batch norm does, what is drawn, re-initialised, re-weighted and set."""
import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.registry import DATA_SAMPLERS, MODELS
from torch import nn
from torch.utils.data import BatchSampler

from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')

if host_error('mmpretrain') is None:
    from staged_runs import CRT, LINEAR, NBN, Seen, changed, loaded, run, stage_config, weights

CLASSIFIER = {'head.fc.weight', 'head.fc.bias'}


@pytest.fixture(autouse=True)
def quick_runs(monkeypatch):
    """What takes longer than these runs: formatting the config, and collecting garbage when a data set is built."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    monkeypatch.setattr('mmengine.dataset.base_dataset.gc.collect', lambda *args: 0)


def statistics(keys):
    return {key for key in keys if key.endswith(('running_mean', 'running_var', 'num_batches_tracked'))}


@pytest.mark.parametrize(('backbone', 'norm', 'train', 'expected'), [
    (None, 'frozen', [], CLASSIFIER),
    (None, 'shifted', [], CLASSIFIER | {'statistics'}),
    (None, 'train', [r'\.bn\d'], CLASSIFIER | {'statistics', 'affine'}),
    (NBN, 'frozen', [], CLASSIFIER),
    (NBN, 'magnitude', [], CLASSIFIER | {'backbone.nbn.magnitude'}),
    (NBN, 'frozen', [r'\.magnitude'], CLASSIFIER | {'backbone.nbn.magnitude'}),
], ids=['bn_frozen', 'bn_shifted', 'bn_train', 'nbn_frozen', 'nbn_magnitude', 'nbn_train_magnitude'])
def test_exactly_what_the_policy_says_changes(tmp_path, backbone, norm, train, expected):
    """In one run, so that stage 1 leaves momentum and a weight decay that would move frozen parameters."""
    stage = dict(CRT, begin=2, norm=norm, train=train)
    runner = run(stage_config(tmp_path, [stage], backbone=backbone))
    stage_1 = loaded(tmp_path / 'epoch_2.pth')['state_dict']
    different = changed(stage_1, weights(runner))
    bn = {name for name, module in runner.model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    assert bn
    groups = dict(statistics=statistics(stage_1), affine={f'{name}.{key}' for name in bn for key in ('weight', 'bias')})
    wanted = set().union(*(groups.get(name, {name}) for name in expected))
    assert different == wanted
    assert changed(loaded(tmp_path / 'epoch_1.pth')['state_dict'], stage_1) == set(stage_1), 'stage 1 trains all'


@pytest.mark.parametrize(('backbone', 'norm', 'still'), [
    (None, 'shifted', {'affine'}), (NBN, 'frozen', {'affine', 'statistics', 'backbone.nbn.magnitude'}),
    (NBN, 'magnitude', {'affine', 'statistics'})], ids=['bn_shifted', 'nbn_frozen', 'nbn_magnitude'])
def test_a_policy_alone_stops_batch_norm_and_nothing_else(tmp_path, backbone, norm, still):
    runner = run(stage_config(tmp_path, [dict(begin=2, norm=norm)], epochs=3, backbone=backbone))
    stage_1 = loaded(tmp_path / 'epoch_2.pth')['state_dict']
    bn = [name for name, module in runner.model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    groups = dict(statistics=statistics(stage_1), affine={f'{name}.{key}' for name in bn for key in ('weight', 'bias')})
    assert set(stage_1) - changed(stage_1, weights(runner)) == set().union(*(groups.get(key, {key}) for key in still))


def test_gradients_that_were_accumulated_move_no_frozen_parameter(tmp_path):
    """The stage begins after two of four batches, whose gradients are still there."""
    cfg = stage_config(tmp_path, [dict(CRT, begin=2)], epochs=3)
    cfg.optim_wrapper.accumulative_counts = 4
    runner = run(cfg)
    assert changed(loaded(tmp_path / 'epoch_2.pth')['state_dict'], weights(runner)) == CLASSIFIER


def test_two_runs_equal_one(tmp_path):
    """A run from the checkpoint draws and computes what the stage of the one run does."""
    whole = run(stage_config(tmp_path / 'one', [dict(CRT, begin=2)]))
    second = run(stage_config(tmp_path / 'two', [dict(CRT, begin=0)], epochs=2,
                              load_from=str(tmp_path / 'one' / 'epoch_2.pth')))
    assert not changed(weights(whole), weights(second))


BALANCED = dict(type='ClassBalancedSampler', num_samples_per_class=2), [1, 1, 1]
SQUARE_ROOT = dict(type='SquareRootSampler'), np.sqrt([24, 9, 3])


@pytest.mark.parametrize(('loop', 'sampler', 'shares'), [
    ('epochs', *SQUARE_ROOT),
    ('epochs', dict(type='ProgressivelyBalancedSampler', total_epochs=2), None),
    ('epochs_in_workers', *BALANCED),
    ('iterations', *BALANCED),
    ('device', *SQUARE_ROOT),
])
def test_the_sampler_changes_with_the_stage(tmp_path, sampler, shares, loop):
    seen = Seen()
    if loop in ('epochs', 'epochs_in_workers'):
        cfg = stage_config(tmp_path, [dict(begin=1, sampler=sampler)], epochs=4)
        if loop == 'epochs_in_workers':
            cfg.train_dataloader.update(num_workers=1, persistent_workers=True)
    else:
        cfg = stage_config(tmp_path, [dict(begin=5, by_epoch=False, sampler=dict(sampler, infinite=True))],
                           iterations=20, device=loop == 'device')
    cfg.default_hooks.checkpoint = None
    runner = run(cfg, seen)
    first, then = (np.bincount(sum((seen.labels[i] for i in span), []), minlength=3) / (8. * len(span))
                   for span in (range(5), range(5, 20)))
    assert first[0] > 0.5 and len(seen.labels) == 20
    if loop.startswith('epochs'):
        assert len(sum((seen.labels[i] for i in range(5, 10)), [])) == 36, 'an epoch stays an epoch'
    if shares is None:  # counts from the begin of the stage: t = 0, 1, 2 of T = 2 with 24, 9 and 3 images
        drawn = [runner.train_dataloader.sampler.sampler.class_probabilities(t)[2] for t in (0, 1, 2)]
        np.testing.assert_allclose(drawn, [3 / 36, (3 / 36 + 1 / 3) / 2, 1 / 3])
        assert runner.train_dataloader.sampler.sampler.epoch == 2
    else:
        np.testing.assert_allclose(then, shares / np.sum(shares), atol=0.08)


@DATA_SAMPLERS.register_module(force=True)
class PairBatchSampler(BatchSampler):
    """Batches of pairs of neighbours in the sampler's order; a batch sampler that is not torch's own."""


def test_a_batch_sampler_of_its_own_draws_from_the_sampler_of_the_stage(tmp_path):
    seen = Seen()
    cfg = stage_config(tmp_path, [dict(begin=1, sampler=BALANCED[0])], epochs=3)
    cfg.train_dataloader.batch_sampler = dict(type='PairBatchSampler', drop_last=False)
    runner = run(cfg, seen)
    assert type(runner.train_dataloader.batch_sampler) is PairBatchSampler
    drawn = np.bincount(sum((seen.labels[i] for i in range(5, 15)), []))
    assert drawn.sum() == 72 and drawn.min() >= 22
    cfg = stage_config(tmp_path / 'iterations', [dict(begin=3, by_epoch=False, sampler=dict(
        BALANCED[0], infinite=True))], iterations=6)
    cfg.train_dataloader.batch_sampler = dict(type='PairBatchSampler', drop_last=False)
    run(cfg)
    with pytest.raises(RuntimeError, match='2 batches of the stage are done, and how to skip them'):
        run(cfg, resume=True, load_from=str(tmp_path / 'iterations/iter_5.pth'), work_dir=str(tmp_path / 'resumed'))


def test_reinit_gives_the_values_of_the_start_and_forgets_the_momentum(tmp_path):
    state = {}

    class Look(Seen):

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            super().before_train_iter(runner, batch_idx, data_batch)
            if runner.iter == 10:
                held = runner.optim_wrapper.optimizer.state
                state.update({name: parameter in held for name, parameter in runner.model.named_parameters()})

    seen = Look(copies=(0, 9, 10))
    run(stage_config(tmp_path, [dict(begin=2, reinit=['head.fc'])], epochs=3, head=dict(
        LINEAR, predictor=dict(type='RectifiedPredictor'))), seen)
    start, before, after = (seen.weights[i] for i in (0, 9, 10))
    fc = {key for key in start if key.startswith('head.fc')}
    assert {'head.fc.weight', 'head.fc.logit_rectification.running_var'} <= fc
    assert not {key for key in fc if not torch.equal(start[key], after[key])}
    assert not torch.equal(before['head.fc.weight'], after['head.fc.weight'])
    assert state == {name: not name.startswith('head.fc') for name in state}


def test_reinit_keeps_what_follows_from_the_class_counts(tmp_path):
    head = dict(LINEAR, predictor=dict(type='InverseFrequencyLinear'))
    fc = run(stage_config(tmp_path, [dict(begin=1, reinit=['head.fc'])], epochs=2, head=head)).model.head.fc
    expected = [np.log(37 / (n + 1)) + 1 for n in (24, 9, 3)]
    np.testing.assert_allclose(fc.frequency_weights.numpy(), expected, rtol=1e-6)


def test_reinit_leaves_the_random_numbers_of_the_run(tmp_path):
    draws = {}
    for name, stage in (('with', dict(begin=1, reinit=['head.fc'])), ('without', dict(begin=1, norm='train'))):

        class Draw(Seen):

            def before_train_iter(self, runner, batch_idx, data_batch=None, name=name):
                if runner.iter == 5:
                    draws[name] = torch.rand(2).tolist() + np.random.rand(2).tolist()

        run(stage_config(tmp_path, [stage], epochs=2), Draw())
    assert draws['with'] == draws['without']


@MODELS.register_module(force=True)
class NotingLoss(nn.Module):
    """Cross entropy that notes at which iteration it was told to re-weight, times a factor."""

    def __init__(self):
        super().__init__()
        self.calls, self.factor, self.factors, self.options = [], 1., [], dict(power=1)

    def set_reweighting(self, active):
        self.calls.append(active)

    def forward(self, cls_score, label, **kwargs):
        self.factors.append((self.factor, self.calls[-1] if self.calls else None))
        return self.factor * nn.functional.cross_entropy(cls_score, label)


def test_reweighting_and_attributes_follow_the_epoch(tmp_path):
    head = dict(LINEAR, loss=dict(type='NotingLoss'))
    stages = [dict(begin=1, reweight=True, set={'model.head.loss_module.factor': 0.5}),
              dict(begin=3, reweight=False, set={'model.head.loss_module.options.power': 3})]
    runner = run(stage_config(tmp_path, stages, head=head))
    loss = runner.model.head.loss_module
    assert loss.factors == [(1., False)] * 5 + [(0.5, True)] * 10 + [(0.5, False)] * 5
    assert loss.options == dict(power=3)
    resumed = run(stage_config(tmp_path / 'resumed', stages, head=head, resume=True,
                               load_from=str(tmp_path / 'epoch_2.pth')))
    assert resumed.model.head.loss_module.factors == [(0.5, True)] * 5 + [(0.5, False)] * 5


def test_a_later_stage_wins_and_may_release(tmp_path):
    stages = [dict(begin=1, freeze=[r'^backbone\.'], norm='frozen'), dict(begin=2, freeze=[], norm='train')]
    runner = run(stage_config(tmp_path, stages, epochs=3))
    states = [loaded(tmp_path / f'epoch_{i}.pth')['state_dict'] for i in (1, 2)]
    assert changed(*states) == CLASSIFIER
    assert changed(states[1], weights(runner)) == set(states[1])
    assert all(parameter.requires_grad for parameter in runner.model.parameters())


@pytest.mark.parametrize('update_buffers', [False, True])
def test_averages_begin_anew_where_the_network_was_replaced(tmp_path, update_buffers):
    """From the stage on, EMA's network has the frozen backbone that its classifier is trained on."""
    ema = dict(type='EMAHook', momentum=0.01, update_buffers=update_buffers)
    cfg = stage_config(tmp_path, [dict(CRT, begin=2)], epochs=3, custom_hooks=[ema])
    seen = Seen(copies=(10, ))
    runner = run(cfg, seen)
    averaged = next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model.module.state_dict()
    model = weights(runner)
    for key, value in model.items():
        if key.startswith('backbone'):
            assert torch.equal(averaged[key], value), key
    # the classifier's average starts at the re-initialised one, and no stage-1 classifier is left in it
    expected = seen.weights[10]['head.fc.weight'].clone()
    assert (averaged['head.fc.weight'] - expected).norm() < 0.1 * (model['head.fc.weight'] - expected).norm()


def test_the_learning_rate_restarts_by_the_scheduler(tmp_path):
    seen = Seen()
    cfg = stage_config(tmp_path, [dict(CRT, begin=2)], epochs=4, param_scheduler=[
        dict(type='CosineRestartLR', periods=[2, 2], restart_weights=[1, 0.4], eta_min=0, by_epoch=True,
             convert_to_iter_based=True)])
    run(cfg, seen)
    expected = [0.05 * w * (1 + np.cos(np.pi * i / 10)) / 2 for w in (1, 0.4) for i in range(10)]
    np.testing.assert_allclose([seen.rates[i] for i in range(20)], expected, atol=1e-7)


def test_stage_2_from_a_checkpoint_of_other_counts(tmp_path):
    """load_from takes the new set's counts."""
    stage_1 = run(stage_config(tmp_path / 'one', [dict(begin=1, norm='train')], epochs=2))
    cfg = stage_config(tmp_path / 'two', [dict(CRT, begin=0)], epochs=1, load_from=str(tmp_path / 'one/epoch_2.pth'))
    cfg.train_dataloader.dataset.counts = (9, 9, 20)
    runner = run(cfg)
    assert loaded(tmp_path / 'two/epoch_1.pth')['meta']['class_counts']['images'] == [9, 9, 20]
    assert changed(weights(stage_1), weights(runner)) == CLASSIFIER


ITERATIONS = dict(iterations=6)


@pytest.mark.parametrize(('stage', 'options', 'error', 'message'), [
    (dict(CRT, begin=0), {}, RuntimeError, r'stages\[0\] \(begin=0\) needs the network .* Give `load_from`'),
    (dict(begin=2, norm='frozen', needs_checkpoint=True), {}, RuntimeError, 'Give `load_from`'),
    (dict(begin=4, norm='frozen'), {}, ValueError, r'begin=4 is never reached: the run ends at max_epochs=4'),
    (dict(begin=1, norm='frozen'), ITERATIONS, ValueError, 'by_epoch=True, but IterBasedTrainLoop counts iterations'),
    (dict(begin=3, by_epoch=False, sampler=dict(type='SquareRootSampler')), {}, ValueError,
     'changes the sampler at an iteration'),
    (dict(begin=1, freeze=['bone.layer9']), {}, ValueError, r"freeze: 'bone.layer9' matches none of the learnable"),
    (dict(begin=1, freeze=['backbone'], train=['magnitude']), {}, ValueError, "train: 'magnitude' matches none"),
    (dict(begin=1, freeze=['.']), {}, ValueError, 'leave no parameter to learn'),
    (dict(begin=1, norm='magnitude'), {}, ValueError, "norm='magnitude' lets NBN's magnitude learn, but the model has"),
    (dict(begin=1, reinit=['head.fcc']), {}, ValueError, "reinit: 'head.fcc' is no module of the model"),
    (dict(begin=1, reweight=True), {}, ValueError, 'no part of the model has set_reweighting'),
    (dict(begin=1, set={'model.head.loss_module.tau': 1}), {}, ValueError, "CrossEntropyLoss.* has no 'tau'"),
    (dict(begin=1, set={'head.loss_module': 1}), {}, ValueError, "must begin with one of .*'model'"),
    (dict(begin=1, set={'model.head.fc.weight': 1}), {}, ValueError, 'is a Parameter; only plain values'),
    (dict(begin=1, sampler=dict(type='ClassBalancedSampler', epoch_length=8)), {}, ValueError,
     'makes 1 batches an epoch where there were 5'),
    (dict(begin=1, sampler=dict(type='ClassBalancedSampler', infinite=True)), {}, ValueError, 'leave out infinite'),
    (dict(begin=3, by_epoch=False, sampler=dict(type='ClassBalancedSampler')), ITERATIONS, ValueError,
     'add infinite=True'),
    (dict(begin=1, norm='frozen'), dict(hooks=dict(recompute=dict(
        type='RecomputeStatisticsHook', batch_norm=True))), ValueError, 'Remove one of the two'),
])
def test_wrong_stages_stop_before_training(tmp_path, stage, options, error, message):
    with pytest.raises(error, match=message):
        run(stage_config(tmp_path, [stage], **options))
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize(('stages', 'message'), [
    ([], r'stages=\[\] must be a list of dicts'),
    ([dict(begin=-1, norm='frozen')], r'stages\[0\].begin=-1 must be an epoch'),
    ([dict(begin=1)], 'changes nothing'),
    ([dict(begin=1, samplers=3)], r'stages\[0\].samplers=3 is unknown; the keys are'),
    ([dict(begin=1, norm='eval')], r"norm='eval' must be one of \('train', 'frozen', 'shifted', 'magnitude'\)"),
    ([dict(begin=1, freeze='backbone')], "freeze='backbone' must be a list of regular expressions"),
    ([dict(begin=1, freeze=['('])], r"freeze='\(' is no regular expression"),
    ([dict(begin=1, reinit='head')], "reinit='head' must be a list of names of modules"),
    ([dict(begin=1, train=['fc'])], 'names exceptions of `freeze` and of `norm`'),
    ([dict(begin=1, sampler='ClassBalancedSampler')], 'must be the config of a sampler'),
    ([dict(begin=1, reweight=1)], 'reweight=1 must be True or False'),
    ([dict(begin=1, set=[1])], r'set=\[1\] must be a dict of dotted paths'),
    ([dict(begin=2, norm='frozen'), dict(begin=2, norm='train')], 'must be above that of the stage before it, 2'),
    ([dict(begin=2, norm='frozen'), dict(begin=20, by_epoch=False, norm='train')], 'count all in epochs or all in'),
])
def test_wrong_options(stages, message):
    from nbn_mm.engine.hooks import StageHook
    with pytest.raises(ValueError, match=message):
        StageHook(copy.deepcopy(stages))
