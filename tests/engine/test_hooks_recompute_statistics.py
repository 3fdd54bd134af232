"""Recomputed running statistics against a direct computation over the training set."""
import copy
import logging
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor, BaseModel, BaseTTAModel, MMDistributedDataParallel
from process_server import run_ranks
from torch import nn
from torch.utils.data import DataLoader

from nbn_mm.datasets import ClassCounts
from nbn_mm.engine.hooks import (
    ClassCountsHook,
    RecomputeStatisticsHook,
    recompute_statistics,
    recompute_statistics_hook,
)
from nbn_mm.models.layers import RectifiedPredictor
from nbn_mm.models.losses import BalancedSoftmaxLoss
from nbn_mm.utils.hosts import host_error

needs_mmpretrain = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')
if host_error('mmpretrain') is None:
    from tiny_classification import COUNTS, messages, runner, training_set


class TinyModel(BaseModel):
    """Linear layer, batch norm, dropout, rectified predictor; ``norm_eval`` keeps the second norm in eval mode."""

    def __init__(self, rectified=True):
        super().__init__(data_preprocessor=BaseDataPreprocessor())
        self.first = nn.Linear(6, 5)
        self.bn = nn.BatchNorm1d(5)
        self.frozen = nn.BatchNorm1d(5)
        self.drop = nn.Dropout(0.5)
        self.fc = RectifiedPredictor(in_features=5, out_features=3) if rectified else nn.Linear(5, 3)
        self.loss_module = BalancedSoftmaxLoss()

    def train(self, mode=True):
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, inputs, mode='tensor'):
        return self.fc(self.drop(self.frozen(self.bn(self.first(inputs)))))


def model_and_batches(rectified=True):
    torch.manual_seed(1)
    model = TinyModel(rectified).double()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(9, 6, dtype=torch.float64))
    data = torch.randn(23, 6, dtype=torch.float64) * 2 + 5
    return model, data


def batches(data, size=5):
    return [dict(inputs=part) for part in data.split(size)]


def raw_logits(model, data):
    """Logits before rectification, in eval mode."""
    model = copy.deepcopy(model).eval()
    hidden = model.frozen(model.bn(model.first(data)))
    return nn.functional.linear(hidden, model.fc.weight, model.fc.bias).detach()


def test_rectification_gets_mean_and_variance_of_the_set():
    model, data = model_and_batches()
    expected = raw_logits(model, data)
    before = copy.deepcopy(model.state_dict())
    assert recompute_statistics(model, batches(data)) == ['fc.logit_rectification']
    layer = model.fc.logit_rectification
    torch.testing.assert_close(layer.running_mean, expected.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.running_var, expected.var(0), rtol=1e-12, atol=1e-12)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {'fc.logit_rectification.running_mean', 'fc.logit_rectification.running_var'}


class Flips(BaseTTAModel):

    def merge_preds(self, data_samples_list):
        return data_samples_list


def test_a_test_with_augmentation_recomputes_the_network_within(monkeypatch):
    """``--tta`` wraps the model, which can only be called by ``test_step`` then."""
    model, data = model_and_batches()
    expected = raw_logits(model, data).mean(0)
    hook = RecomputeStatisticsHook()
    loader = DataLoader(data, 5, collate_fn=lambda rows: dict(inputs=torch.stack(rows)))
    monkeypatch.setattr(hook, '_build_loader', lambda runner: loader)
    hook.before_test_epoch(SimpleNamespace(model=Flips(model), hooks=[], logger=logging.getLogger(__name__)))
    torch.testing.assert_close(model.fc.logit_rectification.running_mean, expected, rtol=1e-12, atol=1e-12)


def test_batch_norm_first_then_rectification():
    model, data = model_and_batches()
    before = copy.deepcopy(model.state_dict())
    assert recompute_statistics(model, batches(data), batch_norm=True) == ['bn', 'fc.logit_rectification']
    hidden = model.first(data).detach()
    torch.testing.assert_close(model.bn.running_mean, hidden.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.bn.running_var, hidden.var(0), rtol=1e-12, atol=1e-12)
    expected = raw_logits(model, data)
    torch.testing.assert_close(model.fc.logit_rectification.running_mean, expected.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.fc.logit_rectification.running_var, expected.var(0), rtol=1e-12, atol=1e-12)
    for key in ('frozen.running_mean', 'frozen.running_var', 'bn.num_batches_tracked', 'bn.weight', 'first.weight'):
        assert torch.equal(model.state_dict()[key], before[key]), key


def test_modes_and_random_states_are_as_before():
    model, data = model_and_batches()
    model.train()
    model.drop.eval()
    modes = [m.training for m in model.modules()]
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(3), np.random.seed(3), torch.manual_seed(3)

    def noisy():
        for batch in batches(data):
            torch.rand(2), np.random.rand(), random.random()
            yield batch

    recompute_statistics(model, noisy())
    assert [m.training for m in model.modules()] == modes
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
    assert not model.fc.logit_rectification._forward_pre_hooks and not model.bn._forward_pre_hooks


def test_nothing_to_recompute_and_too_few_rows():
    model, data = model_and_batches(rectified=False)
    with pytest.raises(ValueError, match='found no LogitRectification in the model'):
        recompute_statistics(model, batches(data))
    assert recompute_statistics(model, batches(data), batch_norm=True) == ['bn']
    model, data = model_and_batches()
    with pytest.raises(ValueError, match='fc.logit_rectification saw 1 rows, and a variance needs two'):
        recompute_statistics(model, batches(data[:1]))


@pytest.mark.parametrize('kwargs', [dict(interval=-1), dict(num_batches=0), dict(mode='predict')])
def test_bad_options(kwargs):
    (name, value), = kwargs.items()
    with pytest.raises(ValueError, match=f'RecomputeStatisticsHook: {name}={value!r}'):
        RecomputeStatisticsHook(**kwargs)


def gloo_worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    model, data = model_and_batches()
    recompute_statistics(model, batches(data[:13] if rank == 0 else data[13:]), batch_norm=True)
    wrapped = MMDistributedDataParallel(model, broadcast_buffers=False)
    record = ClassCounts('abc', [4, 5, 6])
    run = type('Run', (), dict(model=wrapped, val_loop=None))()
    ClassCountsHook()._hand_over(run, record)
    assert model.loss_module.class_counts == record, 'counts reach a model wrapped for DDP'
    torch.save(model.state_dict(), f'{folder}/{rank}.pth')
    dist.destroy_process_group()


def test_two_ranks_equal_one_process(tmp_path):
    run_ranks(gloo_worker, str(tmp_path))
    model, data = model_and_batches()
    recompute_statistics(model, batches(data), batch_norm=True)
    for rank in range(2):
        state = torch.load(tmp_path / f'{rank}.pth')
        for key, value in model.state_dict().items():
            torch.testing.assert_close(state[key], value, rtol=1e-11, atol=1e-12)


RECOMPUTE = dict(recompute=dict(type='RecomputeStatisticsHook'))


def tiny_logits(run, images):
    """Logits before rectification of the tiny classifier, in eval mode."""
    model = copy.deepcopy(run.model).eval()
    feats = model.extract_feat(images)
    return nn.functional.linear(feats[-1], model.head.fc.weight, model.head.fc.bias).detach().double()


def assert_recomputed(run, images):
    expected = tiny_logits(run, images)
    layer = run.model.head.fc.logit_rectification
    torch.testing.assert_close(layer.running_mean.double(), expected.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.running_var.double(), expected.var(0), rtol=1e-4, atol=1e-5)


@needs_mmpretrain
def test_in_training_and_in_a_test(tmp_path):
    run = runner(tmp_path, epochs=2, hooks=RECOMPUTE)
    logged = messages(run)
    run.train()
    assert_recomputed(run, training_set(run))
    assert sum('Recomputed the running statistics of 1 layers over 5 batches' in m for m in logged) == 2
    final = copy.deepcopy(run.model.head.fc.logit_rectification.state_dict())

    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)['state_dict']
    assert not torch.equal(saved['head.fc.logit_rectification.running_var'], final['running_var']), \
        'a checkpoint of an epoch is older than its validation'
    test = runner(tmp_path / 'test', hooks=RECOMPUTE, load_from=str(tmp_path / 'epoch_2.pth'))
    test.test()
    for key in ('running_mean', 'running_var'):
        torch.testing.assert_close(test.model.head.fc.logit_rectification.state_dict()[key], final[key], rtol=0, atol=0)
    plain = runner(tmp_path / 'plain', load_from=str(tmp_path / 'epoch_2.pth'))
    plain.test()
    assert torch.equal(plain.model.head.fc.logit_rectification.running_var,
                       saved['head.fc.logit_rectification.running_var'])


@needs_mmpretrain
def test_training_is_not_disturbed(tmp_path):
    """Weights are bit-equal with and without the hook: it leaves random numbers and the training loader alone."""
    states = []
    for name, hooks in (('with', RECOMPUTE), ('without', None)):
        run = runner(tmp_path / name, epochs=2, hooks=hooks)
        run.train()
        states.append({k: v for k, v in run.model.state_dict().items() if 'logit_rectification' not in k})
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@needs_mmpretrain
@pytest.mark.parametrize('interval, expected', [(0, [3]), (2, [2, 3])])
def test_interval(tmp_path, monkeypatch, interval, expected):
    epochs = []
    recompute = RecomputeStatisticsHook._recompute
    monkeypatch.setattr(RecomputeStatisticsHook, '_recompute',
                        lambda self, run: (epochs.append(run.epoch), recompute(self, run)))
    runner(tmp_path, epochs=3, hooks=dict(recompute=dict(type='RecomputeStatisticsHook', interval=interval))).train()
    assert epochs == expected


@needs_mmpretrain
def test_by_iterations_with_a_limit_and_averaged_weights(tmp_path):
    run = runner(tmp_path, hooks=dict(recompute=dict(
        type='RecomputeStatisticsHook', interval=0, num_batches=2, batch_norm=True)),
        custom_hooks=[dict(type='EMAHook', momentum=0.1, update_buffers=True)],
        train_cfg=dict(by_epoch=False, max_iters=4, val_interval=2), train_dataloader=dict(
            batch_size=8, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='TinyLongTail', pipeline=[dict(type='PackInputs')])))
    logged = messages(run)
    run.train()
    assert [m for m in logged if 'Recomputed' in m] == [
        'Recomputed the running statistics of 8 layers over 2 batches a rank of the training set.']


@needs_mmpretrain
def test_best_checkpoint_holds_recomputed_statistics(tmp_path):
    run = runner(tmp_path, epochs=1, metric='Accuracy', hooks=dict(
        RECOMPUTE, checkpoint=dict(type='CheckpointHook', interval=1, save_best='accuracy/top1')))
    run.train()
    best, = tmp_path.glob('best_*.pth')
    state = torch.load(best, weights_only=False)['state_dict']
    layer = run.model.head.fc.logit_rectification
    assert torch.equal(state['head.fc.logit_rectification.running_var'], layer.running_var)
    assert_recomputed(run, training_set(run))
    assert sum(COUNTS) == len(training_set(run))


@needs_mmpretrain
@pytest.mark.parametrize('kind', ['mmengine.EMAHook', 'EMAHook'])
def test_best_checkpoint_with_averaged_weights_is_the_scored_network(tmp_path, kind):
    """``EMAHook`` exchanges parameters alone for a validation and everything for a checkpoint; mmpretrain's, which is
    found first in its scope, puts them back for a test."""
    ema = [dict(type=kind, momentum=0.1)]
    run = runner(tmp_path, epochs=1, metric='Accuracy', custom_hooks=ema, hooks=dict(
        RECOMPUTE, checkpoint=dict(type='CheckpointHook', interval=1, save_best='accuracy/top1')))
    scored, tested = {}, {}
    train = run.train_loop.run_epoch
    moving = {}

    def watch(loop, seen, run):
        evaluate = loop.evaluator.evaluate

        def watched(size):
            seen.update(copy.deepcopy(run.model.state_dict()))
            return evaluate(size)

        loop.evaluator.evaluate = watched

    def trained():
        train()
        moving.update(copy.deepcopy(run.model.state_dict()))

    watch(run.val_loop, scored, run)
    run.train_loop.run_epoch = trained
    run.train()
    best, = tmp_path.glob('best_*.pth')
    assert not torch.equal(scored['head.fc.weight'], moving['head.fc.weight'])
    name = 'head.fc.logit_rectification.running_var'
    assert not torch.equal(scored[name], moving[name])
    for key, value in torch.load(best, weights_only=False)['state_dict'].items():
        if 'logit_rectification' in key or not key.endswith(('running_mean', 'running_var', 'num_batches_tracked')):
            assert torch.equal(value, scored[key]), key
    test = runner(tmp_path / 'test', metric='Accuracy', custom_hooks=ema, load_from=str(best))
    watch(test.test_loop, tested, test)
    test.test()
    for key in ('head.fc.weight', name, name.replace('var', 'mean')):
        assert torch.equal(tested[key], scored[key]), key


@needs_mmpretrain
@pytest.mark.parametrize('batch_norm, rows', [(False, 36), (True, 35)])
def test_a_last_batch_of_one_image(tmp_path, batch_norm, rows):
    """Batch norm can't normalise one value a channel; ``drop_last`` of the config stays where it would have to."""
    loader = dict(batch_size=5, num_workers=0, drop_last=True, sampler=dict(type='DefaultSampler', shuffle=True),
                  collate_fn=dict(type='default_collate'),
                  dataset=dict(type='TinyLongTail', pipeline=[dict(type='PackInputs')]))
    run = runner(tmp_path, epochs=1, train_dataloader=loader)
    hook = RecomputeStatisticsHook(batch_norm=batch_norm)
    hook.before_train(run)
    assert run.train_loop.dataloader is run.train_dataloader
    assert sum(len(batch['inputs']) for batch in hook._build_loader(run)) == rows


@pytest.mark.parametrize('mode, batch_norm, equal', [('tensor', False, False), ('tensor', True, True),
                                                     ('loss', False, True)])
def test_ranks_get_equal_numbers_of_batches_where_something_may_synchronise(monkeypatch, mode, batch_norm, equal):
    """A loss that sums its counts over ranks waits for all of them."""
    monkeypatch.setattr(recompute_statistics_hook, 'get_world_size', lambda: 2)
    built = []
    run = SimpleNamespace(cfg=dict(train_dataloader=dict(dataset=dict())),
                          build_dataloader=lambda cfg, seed: built.append(cfg))
    run.cfg = Config(run.cfg)
    RecomputeStatisticsHook(mode=mode, batch_norm=batch_norm)._build_loader(run)
    assert built[0]['sampler']['round_up'] is equal


@needs_mmpretrain
def test_no_training_set(tmp_path):
    nothing = dict(train_dataloader=None, train_cfg=None, optim_wrapper=None)
    run = runner(tmp_path, metric='Accuracy', hooks=RECOMPUTE, **nothing)
    with pytest.raises(ValueError, match='no `train_dataloader.dataset`'):
        run.test()
