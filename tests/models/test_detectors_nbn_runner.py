"""Mask R-CNN with NBN in mmengine's Runner: loading, resuming, foreign checkpoints, folding, statistics, stopping."""
import pytest
import torch
from folding import disturb
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from nbn_mm.engine.fold_checkpoint import fold_checkpoint
from nbn_mm.engine.launch import RunStopped
from nbn_mm.models.layers import NBN, LogitRectification
from nbn_mm.utils.hosts import host_error

if host_error('mmdet') is not None:
    pytest.skip('mmdet does not import', allow_module_level=True)

import detectors  # noqa: E402

RECTIFIED = dict(type='RectifiedPredictor', base='Linear', rectification=dict(unrectified=2))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A pretrained backbone, and a trained BN detector with other vectors; the models are moved off their start."""
    folder = tmp_path_factory.mktemp('checkpoints')
    detectors.write_pretrained(folder / 'backbone.pth')
    save(folder / 'bn.pth', detectors.detector(None, detectors.write_pretrained(folder / 'other.pth', seed=5)))
    return folder


def save(path, cfg):
    """Write a checkpoint of a disturbed detector; gives back its state."""
    torch.manual_seed(3)
    model = detectors.build(cfg)
    model.init_weights()
    disturb(model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return model.state_dict()


def predictions(work_dir, cfg, checkpoint, **kwargs):
    """Scores, labels, boxes and masks of the pictures under a detector and a checkpoint."""
    run = detectors.runner(work_dir, cfg, load_from=str(checkpoint), **kwargs)
    run.test()
    return run.test_evaluator.metrics[0].kept


def assert_same(found, expected, **tolerance):
    assert len(found) == len(expected) == 4 and sum(len(sample[0]) for sample in expected) > 8
    for got, want in zip(found, expected, strict=True):
        for a, b in zip(got[:3], want[:3], strict=True):
            torch.testing.assert_close(a, b, **tolerance)
        assert (got[3] == want[3]).float().mean() > 0.999


@HOOKS.register_module(force=True)
class KeepStartHook(Hook):
    """Keeps the effective vectors before the first iteration."""
    kept = None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if KeepStartHook.kept is None:
            KeepStartHook.kept = {f'backbone.{name}.{kind}': getattr(layer, kind).detach().clone()
                                  for name, layer in runner.model.backbone.named_modules() if isinstance(layer, NBN)
                                  for kind in ('weight', 'bias')}


@HOOKS.register_module(force=True)
class SeedHook(Hook):
    """Makes the sampled proposals a matter of the iteration alone: a resumed run draws anew."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        torch.manual_seed(runner.iter)


@pytest.mark.parametrize('start', ['pretrained', 1.0])
def test_load_from_comes_after_the_pretrained_backbone(start, files, tmp_path):
    """The start is that of the checkpoint that was loaded last, and so is the network it is compared with."""
    KeepStartHook.kept = None
    run = detectors.runner(
        tmp_path, detectors.detector(dict(init_magnitude=start), files / 'backbone.pth'),
        load_from=str(files / 'bn.pth'), hooks=dict(nbn_start=dict(type='NBNStartHook')),
        custom_hooks=[dict(type='KeepStartHook')])
    log = detectors.messages(run)
    run.train()
    state = torch.load(files / 'bn.pth', weights_only=True)['state_dict']
    assert len(KeepStartHook.kept) == 6
    for key, value in KeepStartHook.kept.items():
        expected = state[key] if start == 'pretrained' else state[key] / state[key].norm()
        torch.testing.assert_close(value, expected)
    (line, ) = [record for record in log if record.getMessage().startswith('NBN in backbone ')]
    assert line.levelname == ('INFO' if start == 'pretrained' else 'WARNING')
    changes = line.getMessage().split(' by ')[1].split(' of their norm')[0].split(', ')
    assert [float(change) for change in changes[:3]] == [0, 0, 0]
    assert float(changes[3]) < 1e-5 if start == 'pretrained' else float(changes[3]) > 0.1


def test_resume_and_average(files, tmp_path):
    """A run in two parts equals one in a piece: gains, magnitude and average come from the checkpoint."""
    cfg = detectors.detector(dict(init_magnitude='pretrained'), files / 'backbone.pth')
    options = dict(custom_hooks=[dict(type='EMAHook', momentum=0.1), dict(type='SeedHook')],
                   hooks=dict(nbn_start=dict(type='NBNStartHook')))
    detectors.runner(tmp_path / 'whole', cfg, epochs=2, **options).train()
    detectors.runner(tmp_path / 'parts', cfg, epochs=1, **options).train()
    resumed = detectors.runner(tmp_path / 'parts' / 'more', cfg, epochs=2, resume=True,
                               load_from=str(tmp_path / 'parts/epoch_1.pth'), **options)
    log = detectors.messages(resumed)
    resumed.train()
    assert not [record for record in log if record.getMessage().startswith('NBN in backbone')], 'it is no start'
    want, got = (torch.load(tmp_path / path / 'epoch_2.pth', weights_only=False) for path in ('whole', 'parts/more'))
    for part in ('state_dict', 'ema_state_dict'):
        assert set(got[part]) == set(want[part])
        for key, value in want[part].items():
            torch.testing.assert_close(got[part][key], value, msg=lambda text, key=key: f'{key}: {text}')
    assert want['state_dict']['backbone.nbn.magnitude'] != 1
    first = torch.load(files / 'backbone.pth', weights_only=True)['state_dict']['layer4.1.bn2.weight']
    torch.testing.assert_close(got['state_dict']['backbone.layer4.1.bn2.weight_gain'], first.norm(), rtol=1e-5, atol=0)


def test_bn_checkpoint_under_nbn(files, tmp_path):
    """A scalar start refuses it; the start that equals it gives its predictions."""
    expected = predictions(tmp_path / 'bn', detectors.detector(), files / 'bn.pth')
    equal = detectors.detector(dict(init_magnitude='pretrained'))
    assert_same(predictions(tmp_path / 'gains', equal, files / 'bn.pth'), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(RuntimeError, match=r"'backbone.nbn.magnitude', but the checkpoint holds none.*'pretrained'"):
        predictions(tmp_path / 'scalar', detectors.detector(dict()), files / 'bn.pth')


def test_nbn_checkpoint_under_bn_and_folded(files, tmp_path):
    """BN refuses it and names the tool; what the tool writes gives the same predictions in the stock detector."""
    cfg = detectors.detector(dict(), files / 'backbone.pth', RECTIFIED)
    save(tmp_path / 'nbn.pth', cfg)
    with pytest.raises(RuntimeError, match=r"'backbone.nbn.magnitude', but the model has no NBN.*fold_nbn.py"):
        predictions(tmp_path / 'bn', detectors.detector(), tmp_path / 'nbn.pth')
    Config(dict(default_scope='mmdet', model=cfg)).dump(tmp_path / 'nbn.py')
    report = fold_checkpoint(str(tmp_path / 'nbn.py'), str(tmp_path / 'nbn.pth'), str(tmp_path / 'folded.pth'))
    assert len(report.norms) == 3 and report.classifiers == ['roi_head.bbox_head.fc_cls'] and not report.remaining
    plain = Config.fromfile(tmp_path / 'folded.py')
    assert 'nbn_mm' not in plain.pretty_text and 'NBN' not in plain.pretty_text
    assert plain.model.roi_head.bbox_head.loss_cls.type == 'mmdet.SeesawLoss'
    expected = predictions(tmp_path / 'trained', cfg, tmp_path / 'nbn.pth')
    plain.model.backbone.init_cfg = None
    assert_same(predictions(tmp_path / 'plain', plain.model, tmp_path / 'folded.pth'), expected, rtol=1e-4, atol=1e-4)


def test_a_normalised_classifier_keeps_its_rectification(files, tmp_path):
    cfg = detectors.detector(dict(), files / 'backbone.pth', dict(RECTIFIED, base='NormedLinear'))
    save(tmp_path / 'nbn.pth', cfg)
    Config(dict(default_scope='mmdet', model=cfg)).dump(tmp_path / 'nbn.py')
    report = fold_checkpoint(str(tmp_path / 'nbn.py'), str(tmp_path / 'nbn.pth'), str(tmp_path / 'folded.pth'))
    assert list(report.remaining) == ['roi_head.bbox_head.fc_cls'] and 'not linear in its input' in str(report)
    plain = Config.fromfile(tmp_path / 'folded.py')
    assert plain.custom_imports.imports == ['nbn_mm'] and plain.model.backbone.type == 'ResNet'
    plain.model.backbone.init_cfg = None
    assert_same(predictions(tmp_path / 'plain', plain.model, tmp_path / 'folded.pth'),
                predictions(tmp_path / 'trained', cfg, tmp_path / 'nbn.pth'), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('loss, unrectified', [('SeesawLoss', 2), ('FastSeesawLoss', 2), ('EqualizationV2Loss', 1)])
def test_statistics_over_sampled_proposals(loss, unrectified, files, tmp_path):
    """RecomputeStatisticsHook with mode='loss': mean and variance of the logits of all sampled proposals.

    What a loss counts or sums up meanwhile is taken back.
    """
    predictor = dict(RECTIFIED, rectification=dict(unrectified=unrectified))
    cfg = detectors.detector(dict(), files / 'backbone.pth', predictor, loss)
    before = {key: value.clone() for key, value in save(tmp_path / 'nbn.pth', cfg).items()}
    run = detectors.runner(tmp_path / 'run', cfg, load_from=str(tmp_path / 'nbn.pth'),
                           custom_hooks=[dict(type='RecomputeStatisticsHook', mode='loss')])
    rows = []
    layer = run.model.roi_head.bbox_head.fc_cls.logit_rectification
    assert isinstance(layer, LogitRectification)
    layer.register_forward_pre_hook(lambda layer, inputs: rows.append(inputs[0].detach().double()))
    run.test()
    sampled = torch.cat(rows[:2])[:, :3]  # two batches of training, then those of the test
    assert len(rows) > 2 and 8 <= len(sampled) <= 64
    torch.testing.assert_close(layer.running_mean.double(), sampled.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.running_var.double(), sampled.var(0), rtol=1e-4, atol=1e-6)
    own = {f'roi_head.bbox_head.fc_cls.logit_rectification.running_{kind}' for kind in ('mean', 'var')}
    for key, value in run.model.state_dict().items():
        assert torch.equal(value, before[key]) == (key not in own), key


def test_loss_terms_that_are_not_finite_are_named(files, tmp_path):
    run = detectors.runner(tmp_path, detectors.detector(dict(init_magnitude='pretrained'), files / 'backbone.pth'),
                           epochs=2, hooks=dict(finite_loss=dict(type='FiniteLossHook')),
                           custom_hooks=[dict(type='SpoilBoxesHook')])
    with pytest.raises(RunStopped, match=r'iteration 4 \(epoch 2\) is not finite; .*epoch_1.pth') as error:
        run.train()
    terms = str(error.value).split(': ')[1].split('. ')[0].split(', ')
    assert sorted(terms) == ['loss=nan', 'loss_bbox=nan']
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']


@HOOKS.register_module(force=True)
class SpoilBoxesHook(Hook):
    """Makes the box regression NaN before the fourth iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3:
            runner.model.roi_head.bbox_head.fc_reg.bias.data.fill_(float('nan'))
