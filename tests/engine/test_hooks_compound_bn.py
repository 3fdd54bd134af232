"""Compound batch normalisation in mmengine's Runner: both paths with mmpretrain's ImageClassifier from the config."""
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')

from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402
from tiny_classification import COUNTS, config, runner  # noqa: E402
from torch import nn  # noqa: E402

from nbn_mm.datasets.class_counts import ClassCounts  # noqa: E402
from nbn_mm.datasets.label_batch import LabelBatch  # noqa: E402
from nbn_mm.engine.hooks.compound_bn_hook import CompoundBNHook, entropies, labels_of  # noqa: E402
from nbn_mm.engine.hooks.recompute_statistics_hook import recompute_statistics  # noqa: E402
from nbn_mm.models.layers import CompoundBN  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BACKBONE = dict(type='CompoundBNBackbone', base='CIFARResNet', compound=dict(num_components=3))
LAYER = 'backbone.layer3.0.bn2'


def compound_runner(work_dir, compound=None, head='DualPathClsHead', hook=True, **kwargs):
    """Three classes of 24, 9 and 3 images, Balanced Softmax behind logit rectification, one group a class."""
    kwargs = {**dict(custom_hooks=[dict(type='CompoundBNHook', interval=1)] * hook), **kwargs}
    cfg = config(work_dir, head=dict(type=head), **kwargs)
    cfg.model.backbone.update(type='CompoundBNBackbone', base='CIFARResNet',
                              compound={**dict(num_components=3), **(compound or {})})
    runner.number += 1
    cfg.experiment_name = f'compound_{runner.number}'
    return Runner.from_cfg(cfg)


def test_trains_on_digits(tmp_path):
    """The demonstration's config, two paths, Balanced Softmax and normalised affine vectors; the digits are learnt."""
    cfg = Config.fromfile(ROOT / 'configs/demo/resnet8_bn_bsl_digits_lt.py')
    cfg.merge_from_dict(dict(
        work_dir=str(tmp_path), experiment_name='compound_digits', log_level='WARNING',
        train_cfg=dict(max_epochs=8, val_interval=8), default_hooks=dict(checkpoint=dict(interval=8)),
        custom_hooks=[dict(type='CompoundBNHook', interval=2)]))
    cfg.model.backbone = dict(BACKBONE, compound=dict(num_components=2, nbn=dict(zero_bias='smooth')), depth=8)
    cfg.model.head.type = 'DualPathClsHead'
    for split in ('train', 'val'):  # 8x8 pixels as they are
        loader = cfg[f'{split}_dataloader']
        loader.num_workers, loader.persistent_workers = 0, False
        loader.dataset.pipeline = [dict(type='PackInputs')]
    run = Runner.from_cfg(cfg)
    layer = run.model.get_submodule(LAYER)
    assert run.model.backbone.compound.groups is None
    run.train()
    assert run.model.backbone.compound.groups.tolist() == [0] * 5 + [1] * 5
    history = {name: value.data[0] for name, value in run.message_hub.log_scalars.items()}
    assert history['train/loss'][-1] < 0.6 * history['train/loss'][0]
    assert history['train/loss_split'][-1] < 0.6 * history['train/loss_split'][0]
    assert len(history[f'train/cbn_entropy/{LAYER}']) >= 8
    assert history['val/shot/all_top1'][-1] > 30
    assert layer.num_batches_tracked == 8 * 7 and all(torch.isfinite(t).all() for t in run.model.state_dict().values())
    assert 0.0 < entropies(run.model)[LAYER] <= 1.0
    assert not run.model._forward_pre_hooks, 'the hook listens after training'


def test_resumed_run_is_the_same(tmp_path):
    """Two epochs in one go, and one epoch, then another from its checkpoint."""
    whole = compound_runner(tmp_path / 'whole', epochs=2)
    whole.train()
    part = compound_runner(tmp_path / 'part', epochs=1)
    part.train()
    resumed = compound_runner(tmp_path / 'part', epochs=2, resume=True,
                              load_from=str(tmp_path / 'part' / 'epoch_1.pth'))
    resumed.train()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(value, resumed.model.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)


def test_with_accumulated_gradients_and_averaged_weights(tmp_path):
    run = compound_runner(
        tmp_path, epochs=1, custom_hooks=[dict(type='CompoundBNHook'), dict(type='EMAHook', update_buffers=True)],
        optim_wrapper=dict(type='OptimWrapper', accumulative_counts=2, optimizer=dict(type='SGD', lr=0.05)))
    seen = []
    run.model.backbone.layer3[0].bn2.register_forward_pre_hook(
        lambda layer, args: seen.append((layer.training, layer._owner.membership)))
    run.train()
    training = [membership for mode, membership in seen if mode]
    assert [m is None for m in training] == [True, False] * (len(training) // 2) and len(training) == 2 * 5
    assert sum(float(m.sum()) for m in training[1::2]) == 36, 'one group an image, each image once'
    assert all(m is None for mode, m in seen if not mode)


def test_only_logs_without_a_split_path(tmp_path):
    run = compound_runner(tmp_path, dict(split=False, placement='C'), head='LongTailClsHead', epochs=1)
    run.train()
    logged = [name for name in run.message_hub.log_scalars if 'cbn_entropy' in name]
    assert len(logged) == 7 and f'train/cbn_entropy/{LAYER}' in logged
    assert 'train/loss_split' not in run.message_hub.log_scalars


@pytest.mark.parametrize('mean, share', [(0.0, '100.0%'), (9.0, '0.0%')])
def test_components_that_are_alike_or_one_hot_are_named(mean, share, caplog):
    layer = CompoundBN(4)
    layer.num_batches_tracked.fill_(1)
    layer.running_mean.copy_(torch.tensor([[-mean], [0.0], [mean]]))
    layer(torch.randn(8, 4, 3) * 0.1)
    run = SimpleNamespace(model=nn.Sequential(layer), logger=logging.getLogger('compound'))
    CompoundBNHook().after_train_epoch(run)
    assert 'outside of 5 to 95 % of ln K: 0 ' + share in caplog.text
    caplog.clear()
    layer.running_mean.copy_(torch.tensor([[-0.6], [0.0], [0.6]]))
    layer(torch.randn(8, 4, 3))
    CompoundBNHook().after_train_epoch(run)
    assert not caplog.text


def test_labels_in_other_modes(tmp_path):
    """In a training forward that is no loss there is one path, and nothing is left behind."""
    run = compound_runner(tmp_path, epochs=1)
    hook = next(h for h in run.hooks if isinstance(h, CompoundBNHook))
    for module in run.model.modules():
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts(ClassCounts(classes=('a', 'b', 'c'), images=COUNTS))
    hook.before_train(run)
    x = torch.randn(4, 3, 8, 8)
    assert run.model.train()(x).shape == (4, 3)
    samples = [DataSample().set_gt_label(i % 3) for i in range(4)]
    losses = run.model(x, samples, 'loss')
    assert set(losses) >= {'loss', 'loss_split'}
    assert run.model(inputs=x, data_samples=samples, mode='loss').keys() == losses.keys()
    owner = run.model.backbone.compound
    assert not owner.informed and owner.labels is None
    with pytest.raises(RuntimeError):
        run.model(x[:, :2], samples, 'loss')
    assert not owner.informed and owner.labels is None, 'an error left labels behind'
    hook.after_train(run)
    with pytest.raises(RuntimeError, match='does not know the labels'):
        run.model(x, samples, 'loss')


def test_soft_labels_are_refused(tmp_path):
    run = compound_runner(tmp_path, epochs=1, head='DualPathClsHead')
    run.model.data_preprocessor = type(run.model.data_preprocessor)(
        num_classes=3, batch_augments=dict(augments=dict(type='Mixup', alpha=0.2)))
    with pytest.raises(ValueError, match='mixup or CutMix mixed is of several. Remove model.train_cfg.augments'):
        run.train()
    soft = LabelBatch(DataSample, range(2), gt_label=torch.tensor([0, 1]), gt_score=torch.eye(2))
    with pytest.raises(ValueError, match='mixup or CutMix'):
        labels_of(soft)
    assert labels_of(LabelBatch(DataSample, range(2), gt_label=torch.tensor([0, 1]))).tolist() == [0, 1]
    with pytest.raises(ValueError, match='without data_samples'):
        labels_of(None)
    with pytest.raises(ValueError, match='one label an image'):
        labels_of([DataSample()])


def test_wrong_configs_end_before_training(tmp_path):
    with pytest.raises(ValueError, match="model.head.type='LongTailClsHead' does not know the two paths"):
        compound_runner(tmp_path, head='LongTailClsHead').train()
    with pytest.raises(RuntimeError, match=r"custom_hooks = \[dict\(type='CompoundBNHook'\)\]"):
        compound_runner(tmp_path, hook=False).train()
    with pytest.raises(ValueError, match="the model has no CompoundBN. Set model.backbone.type="):
        CompoundBNHook().before_train(SimpleNamespace(model=nn.Linear(1, 1)))
    with pytest.raises(ValueError, match='interval=0 must be an integer >= 1'):
        CompoundBNHook(interval=0)


def test_statistics_are_not_recomputed_by_one_pass(tmp_path):
    run = compound_runner(tmp_path, dict(split=False), head='LongTailClsHead')
    assert any(isinstance(m, CompoundBN) for m in run.model.modules())
    with pytest.raises(ValueError, match=f'batch_norm=True, but {LAYER} is CompoundBN'):
        recompute_statistics(run.model, [], batch_norm=True)
