"""MaxNormHook: rows within a ball, against loops."""
import numpy as np
import pytest
import tiny_classification as tiny
import torch
from mmengine.config import Config
from references.classifier_adjustment import projected

from nbn_mm.engine.hooks.max_norm_hook import MaxNormHook, initial_radius, project_rows

pytest.importorskip('mmpretrain', reason='the runs need mmpretrain')


@pytest.fixture(autouse=True)
def quick_runs(monkeypatch):
    """What takes longer than these runs: formatting the config, and collecting garbage when a data set is built."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    monkeypatch.setattr('mmengine.dataset.base_dataset.gc.collect', lambda *args: 0)


def test_projection_against_loops():
    torch.manual_seed(0)
    lengths = torch.tensor([0.1, 0.5, 1, 2, 5, 0.0], dtype=torch.float64)
    weight = torch.randn(6, 4, dtype=torch.float64) * lengths[:, None]
    before = weight.clone()
    radius = 0.7
    out = project_rows(weight, radius)
    assert out is weight
    np.testing.assert_allclose(weight.numpy(), projected(before.tolist(), radius), rtol=1e-14)
    inside = before.norm(dim=1) <= radius
    assert inside.any() and not inside.all()
    assert torch.equal(weight[inside], before[inside])
    assert weight.norm(dim=1).max() == pytest.approx(radius)


def test_initial_radius():
    weight = torch.diag(torch.tensor([1.0, 2.0, 5.0]))
    assert [initial_radius(weight, f) for f in (0, 0.25, 1)] == [1, 2, 5]


def run(work_dir, max_norm, epochs=2, predictor='Linear', **top):
    head = dict(predictor=dict(type=predictor), loss=dict(type='CrossEntropyLoss'))
    return tiny.runner(work_dir, epochs=epochs, head=head, hooks=dict(
        max_norm=dict(type='MaxNormHook', **max_norm), checkpoint=dict(type='CheckpointHook', interval=1)), **top)


def norms(runner):
    return runner.model.head.fc.weight.detach().norm(dim=1)


def test_norms_grow_until_the_hook_begins(tmp_path):
    free = run(tmp_path / 'free', dict(radius=1e6))
    free.train()
    held = run(tmp_path / 'held', dict(radius=0.05))
    held.train()
    assert norms(free).max() > 0.06  # without the projection the norms leave the ball
    assert norms(held).max() <= 0.05 * (1 + 1e-6)


def test_radius_of_the_begin_stays_in_a_resumed_run(tmp_path):
    first = run(tmp_path / 'a', dict(fraction=0.1, begin=1), epochs=3)
    first.train()
    hook = next(h for h in first.hooks if isinstance(h, MaxNormHook))
    begin = torch.load(tmp_path / 'a' / 'epoch_1.pth', weights_only=False)
    assert 'max_norm_radius' not in begin['meta']
    assert hook.radius == initial_radius(begin['state_dict']['head.fc.weight'], 0.1)
    assert norms(first).max() <= hook.radius * (1 + 1e-6)
    second = run(tmp_path / 'a', dict(fraction=0.1, begin=1), epochs=3, resume=True,
                 load_from=str(tmp_path / 'a' / 'epoch_2.pth'))
    second.train()
    assert next(h for h in second.hooks if isinstance(h, MaxNormHook)).radius == hook.radius
    torch.testing.assert_close(second.model.head.fc.weight, first.model.head.fc.weight)


@pytest.mark.parametrize('options, message', [
    (dict(), 'exactly one of radius=None and fraction=None'),
    (dict(radius=1, fraction=0.1), 'exactly one of radius=1'),
    (dict(radius=0), 'radius=0 must be'),
    (dict(fraction=1.5), 'fraction=1.5 must be'),
    (dict(radius=1, begin=-1), 'begin=-1'),
    (dict(radius=1, weight_decay=-0.1), 'weight_decay=-0.1'),
])
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        MaxNormHook(**options)


@pytest.mark.parametrize('options, predictor, message', [
    (dict(radius=1, module='head.classifier'), 'Linear', "no module 'head.classifier'; its linear layers are head.fc"),
    (dict(radius=1, module='backbone'), 'Linear', 'backbone is CIFARResNet, not a linear layer'),
    (dict(radius=1), 'DisAlignPredictor', 'head.fc is DisAlignPredictor, not a linear'),
    (dict(radius=1), 'RectifiedPredictor', 'logit rectification, behind which the norm of a weight has no effect'),
])
def test_a_module_without_such_norms_is_refused_before_training(tmp_path, options, predictor, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, options, predictor=predictor).train()


@pytest.mark.parametrize('options, message', [
    (dict(begin=2), 'begin=2 is never reached: the run ends at max_epochs=2'),
    (dict(begin=99, by_epoch=False), 'begin=99 is never reached: the run ends at max_iters=10'),
])
def test_a_begin_after_the_end_is_refused_before_training(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, dict(radius=1, **options)).train()


def test_a_zero_weight_gives_no_radius(tmp_path):
    runner = run(tmp_path, dict(fraction=0))
    runner.model.head.fc.weight.data[1] = 0
    runner.model.init_weights = lambda: None
    with pytest.raises(ValueError, match='has the weight 0'):
        runner.train()


def test_weight_decay_is_that_of_the_classifier_alone(tmp_path):
    """The one group of the optimiser holds the backbone too; freezing it makes the decay the classifier's."""
    with pytest.raises(ValueError, match='weight_decay=0.3 is meant for head.fc, whose parameters share a group'):
        run(tmp_path / 'shared', dict(radius=1, weight_decay=0.3, begin=1)).train()
    assert not (tmp_path / 'shared/epoch_1.pth').exists(), 'no stage freezes others later, so that it is known before'
    alone = run(tmp_path / 'alone', dict(radius=1, weight_decay=0.3), epochs=1)
    alone.model.backbone.requires_grad_(False)
    alone.train()
    assert [group['weight_decay'] for group in alone.optim_wrapper.optimizer.param_groups] == [0.3]
