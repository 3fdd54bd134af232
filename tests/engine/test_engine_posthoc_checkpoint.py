"""Calibrated checkpoints of classifiers: the written network gives the calibrated logits of the trained one."""
import copy

import numpy as np
import pytest
import tiny_classification as tiny
import torch
from mmengine.config import Config
from references import posthoc as reference
from torch import nn

from nbn_mm.engine.checkpoint_file import build_model, read_checkpoint
from nbn_mm.engine.launch import LaunchError
from nbn_mm.engine.linear_classifier import effective_linear
from nbn_mm.engine.posthoc_checkpoint import posthoc_checkpoint
from nbn_mm.engine.save_logits import save_logits, split_loader
from nbn_mm.models.layers import CalibratedPredictor, LearnableWeightScaling, RectifiedPredictor

pytest.importorskip('mmdet', reason="takes mmdet's normalised linear layer")
FLIP = dict(type='RandomFlip', prob=0.5)
PREDICTORS = dict(
    rectified=dict(type='RectifiedPredictor', base='Linear'),
    cosine=dict(type='mmdet.NormedLinear'))


@pytest.fixture(scope='module', params=list(PREDICTORS))
def run(request, tmp_path_factory):
    """A trained run: its folder and kind; its training pipeline flips at random."""
    folder = tmp_path_factory.mktemp(request.param)
    runner = tiny.runner(folder, head=dict(predictor=PREDICTORS[request.param]), metric='TestPriorMetric')
    runner.cfg.train_dataloader.dataset.pipeline = [FLIP, dict(type='PackInputs')]
    runner.train()
    values = [runner.message_hub.get_scalar(f'val/prior/{name}_top1').current() for name in ('forward50', 'uniform')]
    assert all(0 <= value <= 100 for value in values), 'the metric got its counts from the hook'
    runner.cfg.dump(folder / 'trained.py')
    return folder, request.param


def network(config, checkpoint):
    cfg = Config.fromfile(config)
    model = build_model(cfg)
    model.load_state_dict(read_checkpoint(checkpoint)['state_dict'])
    return model.eval(), cfg


def training_images(model):
    """The training images in order and without augmentation, and their labels."""
    dataset = tiny.TinyLongTail(pipeline=[])
    images = torch.stack([torch.from_numpy(dataset[i]['img']).permute(2, 0, 1) for i in range(len(dataset))])
    data = model.data_preprocessor(dict(inputs=images, data_samples=None), False)
    return data['inputs'], [dataset[i]['gt_label'] for i in range(len(dataset))]


def training_features(model):
    """What the classifier gets of each training image."""
    images, labels = training_images(model)
    with torch.no_grad():
        return model.extract_feat(images)[-1], labels


def test_training_logits_are_those_of_each_image_once_and_unaugmented(run):
    folder, kind = run
    saved = save_logits(str(folder / 'trained.py'), str(folder / 'epoch_2.pth'), 'train', features=True,
                        work_dir=str(folder / 'log'))
    model, _ = network(folder / 'trained.py', folder / 'epoch_2.pth')
    features, labels = training_features(model)
    assert saved.labels.tolist() == labels and saved.counts.tolist() == list(tiny.COUNTS)
    np.testing.assert_allclose(saved.features, features, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(saved.logits, model.head.fc(features), rtol=1e-4, atol=1e-5)
    if kind == 'rectified':
        np.testing.assert_allclose(saved.features @ saved.weight.T + saved.bias, saved.logits, rtol=1e-3, atol=1e-4)
    else:
        assert saved.weight is None


@pytest.mark.parametrize('method', ['logit_adjustment', 'logn', 'tau_norm', 'iif'])
def test_calibrated_network(run, method, tmp_path):
    folder, kind = run
    args = str(folder / 'trained.py'), str(folder / 'epoch_2.pth'), str(tmp_path / 'out.pth'), method
    if (kind, method) == ('cosine', 'tau_norm'):
        with pytest.raises(ValueError, match='needs the weight of a linear classifier'):
            posthoc_checkpoint(*args)
        return
    text = posthoc_checkpoint(*args, work_dir=str(folder / 'log'))
    assert 'head.fc' in text and ('weight and bias' in text) == (kind == 'rectified')
    before, _ = network(*args[:2])
    after, cfg = network(tmp_path / 'out.py', tmp_path / 'out.pth')
    features, _ = training_features(before)
    with torch.no_grad():
        old, new = before.head.fc(features), after.head.fc(features)
    rows, counts = old.double().tolist(), tiny.COUNTS
    expected = dict(logit_adjustment=lambda: reference.adjusted(rows, counts, 1),
                    logn=lambda: reference.log_n(rows, rows), iif=lambda: reference.iif(rows, counts),
                    tau_norm=lambda: reference.tau_normalized(
                        features.tolist(), effective_linear(before.head.fc, 64)[0].tolist(), 1))[method]()
    np.testing.assert_allclose(new, expected, rtol=2e-4, atol=2e-4)
    assert not torch.allclose(old, new, atol=0.1)
    if method in ('logn', 'iif'):
        assert not torch.equal(old.argsort(1), new.argsort(1)), 'no ranking changed'
    if kind == 'rectified':
        assert type(after.head.fc) is nn.Linear and cfg.model.head.predictor == dict(type='Linear')
    meta = torch.load(tmp_path / 'out.pth', weights_only=True)['meta']
    assert meta['posthoc'].startswith(method) and meta['class_counts']['images'] == list(counts)
    with pytest.raises(ValueError, match='was calibrated already'):
        posthoc_checkpoint(str(tmp_path / 'out.py'), str(tmp_path / 'out.pth'), str(tmp_path / 'again.pth'), method)


@pytest.mark.parametrize('place', ['custom_hooks', 'default_hooks'])
def test_recomputed_statistics_are_left_out(run, place, tmp_path):
    """The hook would change the network after its logits were taken, and find nothing to recompute later."""
    folder, kind = run
    if kind != 'rectified':
        pytest.skip('nothing to recompute')
    cfg = Config.fromfile(folder / 'trained.py')
    cfg.merge_from_dict({'custom_hooks': [dict(type='RecomputeStatisticsHook')]} if place == 'custom_hooks' else
                        {'default_hooks.recompute.type': 'RecomputeStatisticsHook'})
    cfg.dump(tmp_path / 'config.py')
    out = tmp_path / 'out.pth'
    posthoc_checkpoint(str(tmp_path / 'config.py'), str(folder / 'epoch_2.pth'), str(out), 'logn',
                       work_dir=str(tmp_path / 'log'))
    assert 'Recompute' not in (tmp_path / 'out.py').read_text()
    model, _ = network(tmp_path / 'out.py', out)
    features, _ = training_features(model)
    with torch.no_grad():
        logits = model.head.fc(features)
    np.testing.assert_allclose(logits.std(0, correction=0), 1, rtol=1e-3)


@pytest.mark.parametrize('method', ['logn', 'tau_norm'])
def test_experts_are_calibrated_as_an_ensemble(method, tmp_path):
    cfg = tiny.config(tmp_path, epochs=1)
    cfg.model.backbone = dict(type='MultiExpertBackbone', network='CIFARResNet', depth=8, num_experts=2)
    cfg.model.head = dict(type='MultiExpertClsHead', num_experts=2, num_classes=3, in_channels=64,
                          loss=dict(type='RIDELoss', base=dict(type='CrossEntropyLoss')))
    cfg.dump(tmp_path / 'trained.py')
    torch.manual_seed(0)
    before = build_model(cfg).eval()
    for expert in before.head.experts:
        torch.nn.init.normal_(expert['fc'].bias)
    counts = dict(classes=['cat', 'dog', 'eel'], images=list(tiny.COUNTS))
    torch.save(dict(state_dict=before.state_dict(), meta=dict(class_counts=counts)), tmp_path / 'trained.pth')
    text = posthoc_checkpoint(*(str(tmp_path / name) for name in ('trained.py', 'trained.pth', 'out.pth')), method)
    assert 'head.experts.0.fc' in text and 'head.experts.1.fc' in text
    after, _ = network(tmp_path / 'out.py', tmp_path / 'out.pth')
    images, _ = training_images(before)
    with torch.no_grad():
        feats = before.extract_feat(images)
        old, new = before.head(feats).double(), after.head(feats)
    if method == 'logn':
        expected = reference.log_n(old.tolist(), old.tolist())
    else:
        expected = np.mean([reference.tau_normalized(feat.tolist(), expert['fc'].weight.tolist(), 1)
                            for feat, expert in zip(feats, before.head.experts, strict=True)], axis=0)
    np.testing.assert_allclose(new, expected, rtol=2e-4, atol=2e-4)


def test_calibration_acts_at_test_only():
    predictor = CalibratedPredictor(
        dict(type='RectifiedPredictor', base='mmdet.NormedLinear'), in_features=4, out_features=3)
    plain = copy.deepcopy(predictor)
    plain._forward_hooks.clear()
    predictor.logit_affine.scale.fill_(2.)
    predictor.logit_affine.shift.fill_(1.)
    x = torch.randn(5, 4)
    with torch.no_grad():
        training = predictor(x)
        torch.testing.assert_close(training, nn.functional.batch_norm(plain(x), None, None, training=True))
        predictor.eval()
        torch.testing.assert_close(predictor(x), predictor.logit_rectification(plain(x)) * 2 + 1)
    for bad in (dict(predictor='Linear', out_features=3), dict(predictor=dict(type='Linear'), in_features=4)):
        with pytest.raises(TypeError, match='CalibratedPredictor'):
            CalibratedPredictor(**bad)
    for linear in ('Linear', 'RectifiedPredictor', 'LearnableWeightScaling'):
        with pytest.raises(ValueError, match='belongs into its weight and bias'):
            CalibratedPredictor(dict(type=linear), in_features=4, out_features=3)


@pytest.mark.parametrize('predictor, linear', [
    (nn.Linear(4, 3), True), (LearnableWeightScaling(4, 3), True),
    (RectifiedPredictor(in_features=4, out_features=3), True),
    (RectifiedPredictor(base='mmdet.NormedLinear', in_features=4, out_features=3), False)])
def test_effective_linear(predictor, linear):
    for value in predictor.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    found = effective_linear(predictor, 4)
    assert (found is not None) == linear
    if linear:
        x = torch.randn(6, 4)
        with torch.no_grad():
            torch.testing.assert_close(predictor.eval()(x), (x.double() @ found[0].T + found[1]).float())


def loaders(train, test):
    return Config(dict(train_dataloader=dict(batch_size=9, dataset=train, sampler=dict(type='InfiniteSampler')),
                       test_dataloader=dict(batch_size=4, dataset=test, sampler=dict(type='DefaultSampler'))))


def test_loader_of_a_split():
    inner = dict(type='Set', pipeline=[FLIP], ann_file='a')
    test = dict(type='Set', pipeline=['test'], ann_file='b')
    loader = split_loader(loaders(dict(type='RepeatDataset', times=3, dataset=inner), test), 'train')
    assert loader.dataset == dict(type='Set', pipeline=['test'], ann_file='a')
    assert loader.batch_size == 4 and loader.sampler == dict(type='DefaultSampler', shuffle=False)
    loader = split_loader(loaders(dict(type='ConcatDataset', datasets=[inner, inner]), test), 'train')
    assert [part.pipeline for part in loader.dataset.datasets] == [['test']] * 2
    on_device = dict(type='DeviceDataset', dataset=dict(type='Set', pipeline=['load']), pipeline=[FLIP])
    device_test = dict(type='DeviceDataset', dataset=dict(type='Set', pipeline=['load test']), pipeline=['device test'])
    loader = split_loader(loaders(on_device, device_test), 'train')
    assert loader.dataset.pipeline == ['device test'] and loader.dataset.dataset.pipeline == ['load test']
    loader = split_loader(loaders(on_device, dict(type='Set', pipeline=[dict(type='PackInputs')])), 'train')
    assert loader.dataset == dict(type='Set', pipeline=[dict(type='PackInputs')])
    mixed = dict(on_device, cmo=dict(prob=0.5))
    assert 'cmo' not in split_loader(loaders(mixed, device_test), 'train').dataset
    loader = split_loader(loaders(dict(type='CMODataset', prob=0.5, dataset=inner), test), 'train')
    assert loader.dataset == dict(type='Set', pipeline=['test'], ann_file='a')
    with pytest.raises(LaunchError, match="split='all' must be one of"):
        split_loader(loaders(inner, test), 'all')
    with pytest.raises(LaunchError, match='need `val_dataloader`'):
        split_loader(loaders(inner, test), 'val')
    twice = dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=3, dataset=inner)])
    with pytest.raises(LaunchError, match=r'datasets\[0\] is a RepeatDataset within another'):
        split_loader(loaders(twice, test), 'train')


def test_bad_input(run, tmp_path):
    folder, _ = run
    config, checkpoint = str(folder / 'trained.py'), str(folder / 'epoch_2.pth')
    for out in ('out.txt', checkpoint):
        with pytest.raises(ValueError, match='must end in .pth and be another file'):
            posthoc_checkpoint(config, checkpoint, out, 'iif')
    with pytest.raises(ValueError, match='trained.py.*is the config that is read'):
        posthoc_checkpoint(config, checkpoint, str(folder / 'trained.pth'), 'iif')
    with pytest.raises(FileNotFoundError, match='there is no checkpoint'):
        posthoc_checkpoint(config, str(tmp_path / 'gone.pth'), str(tmp_path / 'out.pth'), 'iif')
    torch.save(dict(state_dict={'head.fc.weight': torch.ones(3, 3)}), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='is no checkpoint of the model'):
        posthoc_checkpoint(config, str(tmp_path / 'other.pth'), str(tmp_path / 'out.pth'), 'iif')
    with pytest.raises(LaunchError, match='does not exist'):
        save_logits(config, str(tmp_path / 'gone.pth'))
