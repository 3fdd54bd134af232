"""BCL's head and preprocessor: which view goes where, what they sum to, and training on Digits-LT."""
import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.runner import Runner
from references.balanced_contrastive import loss_of_each

from nbn_mm.datasets import ClassCounts, LabelBatch
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')
ROOT = Path(__file__).resolve().parents[2]
if host_error('mmpretrain') is None:
    from mmengine.optim import OptimWrapper
    from mmpretrain.registry import MODELS
    from mmpretrain.structures import DataSample

    @ROOT_MODELS.register_module(force=True)
    class NoWeight(torch.nn.Module):
        """A predictor without a weight."""

        def __init__(self, in_features, out_features):
            super().__init__()


COUNTS = [90, 12, 4, 2]
RECTIFIED = dict(type='RectifiedPredictor', base='Linear')
LABELS = [0, 1, 0, 2, 0]


def head(**kwargs):
    torch.manual_seed(0)
    options = dict(type='BalancedContrastiveHead', num_classes=4, in_channels=6, out_channels=5,
                   loss=dict(type='BalancedSoftmaxLoss', class_counts=COUNTS))
    built = MODELS.build(options | kwargs)
    built.init_weights()
    return built


def samples(labels):
    return [DataSample().set_gt_label(label) for label in labels]


def features(views=3, images=5):
    return torch.randn(views * images, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('views', [3, 4])
def test_losses_are_those_of_the_paper(views):
    """alpha times logit-adjusted cross entropy on view 1, beta times the contrastive loss on the others, by loops."""
    model, x = head().double(), features(views).double()
    losses = model.loss((x, ), samples(LABELS))
    logits = model.fc(x[:5]).tolist()
    cls = 0.0
    for row, label in zip(logits, LABELS, strict=True):
        adjusted = [math.exp(z) * n for z, n in zip(row, COUNTS, strict=True)]
        cls -= math.log(adjusted[label] / sum(adjusted)) / 5
    model.eval()  # the same batch statistics are taken by hand, so that the layers are known to be batch-normalised

    def project(mlp, rows):
        hidden = rows @ mlp.fc1.weight.T + mlp.fc1.bias
        hidden = (hidden - hidden.mean(0)) / torch.sqrt(hidden.var(0, correction=0) + 1e-5)
        return hidden.clamp(min=0) @ mlp.fc2.weight.T + mlp.fc2.bias

    contrast = loss_of_each(project(model.projection, x[5:]).tolist(), LABELS * (views - 1),
                            project(model.prototype_projection, model.fc.weight).tolist(), 0.07)
    assert losses['loss_cls'].item() == pytest.approx(cls, rel=1e-9)
    assert losses['loss_contrast'].item() == pytest.approx(0.35 * sum(contrast) / len(contrast), rel=1e-6)
    assert set(losses) == {'loss_cls', 'loss_contrast'}


def test_the_views_do_not_change_places():
    """A change of view 1 moves the classification loss alone, one of another view the contrastive loss alone."""
    x = features()
    before = head().loss((x, ), samples(LABELS))
    for row, moved, kept in ((2, 'loss_cls', 'loss_contrast'), (12, 'loss_contrast', 'loss_cls')):
        other = x.clone()
        other[row] += 1
        after = head().loss((other, ), samples(LABELS))
        assert after[moved] != before[moved] and after[kept] == before[kept]


def test_every_parameter_gets_a_gradient_from_both_losses_together():
    model = head()
    sum(model.loss((features(), ), samples(LABELS)).values()).backward()
    silent = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    # batch norm behind them removes a shift: a gradient of rounding errors
    assert silent <= {'projection.fc1.bias', 'prototype_projection.fc1.bias'}
    model = head()
    model.loss((features(), ), samples(LABELS))['loss_contrast'].backward()
    assert model.fc.weight.grad.abs().sum() > 0  # prototypes come from the classifier


def test_without_complement_there_is_no_second_projection():
    model = head(contrast=dict(type='BalancedContrastiveLoss', class_complement=False))
    assert not any(name.startswith('prototype') for name, _ in model.named_parameters())
    losses = model.loss((features(), ), samples(LABELS))
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_start_of_the_projections_is_pytorchs():
    model = head(in_channels=64, hidden_channels=64, out_channels=64)
    assert model.fc.weight.std().item() < 0.012
    for mlp in (model.projection, model.prototype_projection):
        assert mlp.fc1.weight.std().item() == pytest.approx(1 / math.sqrt(3 * 64), rel=0.1)


def test_at_test_it_is_a_plain_head_and_takes_label_batches():
    model = head(predictor=RECTIFIED).eval()
    x = features()[:5]
    assert torch.equal(model((x, )), model.fc(x))
    assert [s.pred_label.item() for s in model.predict((x, ), samples(LABELS))] == model.fc(x).argmax(1).tolist()
    model.train()
    statistics = copy.deepcopy(model.fc.logit_rectification)
    statistics(torch.nn.functional.linear(x, model.fc.weight, model.fc.bias))
    batch = LabelBatch(DataSample, list(range(5)), gt_label=torch.tensor(LABELS))
    x = torch.cat([x, features()[5:]])
    losses = model.loss((x, ), batch)
    # rectification sees the classification view alone
    torch.testing.assert_close(model.fc.logit_rectification.running_mean, statistics.running_mean)
    torch.testing.assert_close(losses, copy.deepcopy(model).loss((x, ), samples(LABELS)))


def test_bad_input():
    model = head()
    for rows in (5, 10, 14):
        with pytest.raises(ValueError, match=f'got {rows} feature vectors for 5 images.*MultiViewClsDataPreprocessor'):
            model.loss((features()[:rows], ), samples(LABELS))
    soft = [sample.set_gt_score(torch.eye(4)[label]) for sample, label in zip(samples(LABELS), LABELS, strict=True)]
    with pytest.raises(ValueError, match='no soft labels'):
        model.loss((features(), ), soft)
    with pytest.raises(ValueError, match='hidden_channels=0'):
        head(hidden_channels=0)
    with pytest.raises(ValueError, match=r'has no weight of shape \(4, 6\)'):
        head(predictor=dict(type='NoWeight'))
    with pytest.raises(ValueError, match=r'train_cfg.augments'):
        preprocessor(batch_augments=dict(augments=dict(type='Mixup', alpha=1.0)), num_classes=4)


def preprocessor(**kwargs):
    return MODELS.build(dict(
        dict(type='MultiViewClsDataPreprocessor', mean=[1., 2., 3.], std=[2.] * 3, to_rgb=True), **kwargs))


@pytest.mark.parametrize('collated', ['tensors', 'lists'])
def test_preprocessor_lays_views_one_after_another(collated):
    views = [torch.randint(0, 255, (4, 3, 6, 6), dtype=torch.uint8) for _ in range(3)]
    inputs = views if collated == 'tensors' else [list(view) for view in views]
    plain = preprocessor(type='ClsDataPreprocessor')
    out = preprocessor()(dict(inputs=inputs, data_samples=samples([0, 1, 2, 3])), True)
    expected = torch.cat([plain(dict(inputs=view))['inputs'] for view in views])
    assert torch.equal(out['inputs'], expected)
    assert len(out['data_samples']) == 4
    one = preprocessor()(dict(inputs=views[0] if collated == 'tensors' else inputs[0], data_samples=samples([0] * 4)))
    assert torch.equal(one['inputs'], expected[:4])


def test_preprocessor_names_sizes_that_differ():
    images = torch.zeros(2, 3, 6, 6, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r'views of the sizes \[\(4, 4\), \(6, 6\)\]'):
        preprocessor()(dict(inputs=[images, images[..., :4, :4]]))
    with pytest.raises(ValueError, match='images of the sizes'):
        preprocessor()(dict(inputs=[[images[0], images[1, :, :4]], list(images)]))


VIEW = [dict(type='RandomCrop', crop_size=16, padding=2)]
PIPELINE = [dict(type='Resize', scale=16, interpolation='bilinear'),
            dict(type='MultiView', num_views=[1, 2], transforms=[VIEW, VIEW]), dict(type='PackInputs')]


def digits_runner(work_dir, predictor, epochs, **top):
    cfg = Config.fromfile(ROOT / 'configs/demo/resnet8_bn_ce_digits_lt.py')
    cfg.merge_from_dict(dict(
        work_dir=str(work_dir), experiment_name=f'{work_dir.name}_{epochs}', log_level='WARNING',
        model=dict(data_preprocessor=dict(type='MultiViewClsDataPreprocessor')),
        train_dataloader=dict(num_workers=0, persistent_workers=False),
        train_cfg=dict(max_epochs=epochs, val_interval=epochs),
        default_hooks=dict(checkpoint=dict(interval=1)), **top))
    cfg.train_dataloader.dataset.pipeline = PIPELINE
    cfg.model.head = dict(type='BalancedContrastiveHead', num_classes=10, in_channels=64, out_channels=32,
                          predictor=predictor, loss=dict(type='BalancedSoftmaxLoss'))
    return Runner.from_cfg(cfg)


def test_trains_and_resumes_on_digits(tmp_path):
    run = digits_runner(tmp_path, RECTIFIED, 2)
    run.train()
    assert run.val_loop.run()['shot/all_top1'] > 0  # one view in validation
    scalars = run.message_hub.log_scalars
    for name in ('loss_cls', 'loss_contrast'):
        values = scalars[f'train/{name}'].data[0]
        assert values[-3:].mean() < values[:3].mean(), name
    resumed = digits_runner(tmp_path, RECTIFIED, 3, resume=True)
    resumed.train()
    assert resumed.epoch == 3
    assert np.isfinite(resumed.message_hub.log_scalars['train/loss'].data[0]).all()


def test_averaged_copies_and_step():
    """A deep copy (as of an averaged model) has the same losses; one step of SGD moves every part."""
    model = MODELS.build(dict(
        type='ImageClassifier', backbone=dict(type='NBNBackbone', base='CIFARResNet', depth=8),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='BalancedContrastiveHead', num_classes=4, in_channels=64, out_channels=8, predictor=RECTIFIED,
                  loss=dict(type='BalancedSoftmaxLoss')),
        data_preprocessor=dict(type='MultiViewClsDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3)))
    for module in model.modules():
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts(ClassCounts('abcd', COUNTS))
    data = dict(inputs=[torch.randint(0, 255, (5, 3, 8, 8), dtype=torch.uint8) for _ in range(3)],
                data_samples=samples(LABELS))
    other = copy.deepcopy(model)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    first = model.train_step(copy.deepcopy(data), wrapper)
    second = other.train_step(copy.deepcopy(data), OptimWrapper(torch.optim.SGD(other.parameters(), lr=0.1)))
    torch.testing.assert_close(first, second)
    assert model.backbone.nbn.magnitude.item() != 1


@pytest.mark.parametrize('leaf', ['imagenet_lt/resnext50_bn_bcl_imagenet_lt', 'inat18/resnet50_nbn_lr_bcl_inat18',
                                  'tiny_imagenet_lt/resnet18q_bn_bcl_8e_tiny_imagenet_lt'])
def test_views_of_the_leaves(tmp_path, leaf):
    """The pipelines make three views that differ; contrastive ones have the published colour changes."""
    from mmcv.transforms import Compose
    from mmengine.registry import DefaultScope
    from PIL import Image

    size = 64 if 'tiny' in leaf else 224
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (size, size + 16, 3), dtype=np.uint8)[:, :size]).save(tmp_path / 'a.png')
    pipeline = Config.fromfile(ROOT / 'configs' / f'{leaf}.py').train_dataloader.dataset.pipeline
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        compose = Compose(pipeline)
    grey = 0
    for seed in range(40):
        np.random.seed(seed)
        item = compose(dict(img_path=str(tmp_path / 'a.png'), gt_label=1))
        views = item['inputs']
        assert [tuple(view.shape) for view in views] == [(3, size, size)] * 3
        assert not torch.equal(views[0], views[1]) and not torch.equal(views[1], views[2])
        grey += sum(torch.equal(view[0], view[1]) for view in views[1:])
        if size == 224 and seed == 2:
            return
    assert 6 <= grey <= 27  # of 80 at 0.2
