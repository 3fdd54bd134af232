"""LongTailClsHead in mmpretrain's classifier, with its losses and batch augmentations."""
import copy

import pytest
import torch

from nbn_mm.datasets import ClassCounts
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')
if host_error('mmpretrain') is None:
    from mmengine.optim import OptimWrapper
    from mmpretrain.models.heads import LinearClsHead
    from mmpretrain.registry import MODELS
    from mmpretrain.structures import DataSample

COUNTS = [90, 12, 4, 2]
RECTIFIED = dict(type='RectifiedPredictor', base='Linear')


def head(**kwargs):
    kwargs.setdefault('predictor', RECTIFIED)
    return MODELS.build(dict(type='LongTailClsHead', num_classes=4, in_channels=6, **kwargs))


def samples(labels):
    return [DataSample().set_gt_label(int(label)) for label in labels]


def classifier(augments=None, **kwargs):
    model = MODELS.build(dict(
        type='ImageClassifier', backbone=dict(type='CIFARResNet', depth=8), neck=dict(type='GlobalAveragePooling'),
        head=dict(dict(type='LongTailClsHead', num_classes=4, in_channels=64, predictor=RECTIFIED), **kwargs),
        data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3, num_classes=4),
        train_cfg=None if augments is None else dict(augments=augments)))
    for module in model.modules():
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts(ClassCounts('abcd', COUNTS))
    return model


def train_step(model, steps=1, batch=8):
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.05))
    torch.manual_seed(0)
    labels = torch.arange(batch) % 4
    images = torch.randint(0, 255, (batch, 3, 8, 8)).float() * (1 + labels[:, None, None, None]) / 4
    logs = []
    for _ in range(steps):
        logs.append(model.train_step(dict(inputs=images, data_samples=samples(labels)), wrapper))
    return logs


def test_plain_predictor_is_the_hosts_head():
    ours, theirs = head(predictor=None), LinearClsHead(4, 6)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ['fc.weight', 'fc.bias']
    ours.load_state_dict(theirs.state_dict())
    feats = (torch.randn(5, 6), )
    torch.testing.assert_close(ours.loss(feats, samples([0, 1, 2, 3, 0])), theirs.loss(feats, samples([0, 1, 2, 3, 0])))


def test_keys_and_hosts_checkpoint():
    result = head().load_state_dict(LinearClsHead(4, 6).state_dict(), strict=False)
    assert not result.unexpected_keys
    assert sorted(result.missing_keys) == [f'fc.logit_rectification.{key}' for key in (
        'num_batches_tracked', 'running_mean', 'running_var')]


def test_initialisation_reaches_the_predictor():
    torch.manual_seed(0)
    ours = MODELS.build(dict(type='LongTailClsHead', num_classes=50, in_channels=64, predictor=RECTIFIED))
    ours.init_weights()
    assert abs(ours.fc.weight.std().item() - 0.01) < 5e-4 and not ours.fc.bias.any()


def test_training_normalises_and_prediction_uses_moving_averages():
    ours = head(loss=dict(type='CrossEntropyLoss'))
    feats = (torch.randn(12, 6), )
    labels = torch.arange(12) % 4
    raw = torch.nn.functional.linear(feats[0], ours.fc.weight, ours.fc.bias)
    expected = torch.nn.functional.cross_entropy(torch.nn.BatchNorm1d(4, affine=False)(raw), labels)
    torch.testing.assert_close(ours.loss(feats, samples(labels))['loss'], expected)
    ours.eval()
    layer = ours.fc.logit_rectification
    assert layer.num_batches_tracked == 1
    scores = torch.stack([s.pred_score for s in ours.predict(feats)])
    torch.testing.assert_close(
        scores, ((raw - layer.running_mean) / (layer.running_var + 1e-5).sqrt()).softmax(1))


def test_unknown_predictor():
    with pytest.raises(KeyError, match="predictor 'Lineer' is unknown"):
        head(predictor=dict(type='Lineer'))


@pytest.mark.parametrize('loss', [
    dict(type='CrossEntropyLoss'), dict(type='BalancedSoftmaxLoss'), dict(type='SeesawLoss', num_classes=4),
    dict(type='FastSeesawClsLoss', num_classes=4), dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=4)])
@pytest.mark.parametrize('predictor', [RECTIFIED, dict(type='Linear')])
def test_train_step_with_any_loss(loss, predictor):
    model = classifier(loss=loss, predictor=predictor)
    model.init_weights()
    before = copy.deepcopy(model.head.fc.weight)
    logs = train_step(model, steps=12)
    assert not torch.equal(before, model.head.fc.weight)
    assert logs[-1]['loss'] < logs[0]['loss'] and torch.isfinite(logs[-1]['loss'])
    if 'Seesaw' in loss['type']:
        assert model.head.loss_module.cum_samples.tolist() == [24, 24, 24, 24]


def test_a_batch_of_one_row():
    model = classifier(loss=dict(type='BalancedSoftmaxLoss'))
    # two rows for BatchNorm are pixels of one image
    assert torch.isfinite(train_step(model, batch=1)[0]['loss'])
    assert model.head.fc.logit_rectification.num_batches_tracked == 0


def test_topk_accuracy():
    model = classifier(loss=dict(type='CrossEntropyLoss'), cal_acc=True, topk=(1, 3))
    log = train_step(model)[0]
    assert {'accuracy_top-1', 'accuracy_top-3'} < set(log)


@pytest.mark.parametrize('loss', [dict(type='CrossEntropyLoss', use_soft=True), dict(type='CrossEntropyLoss'),
                                  dict(type='BalancedSoftmaxLoss')])
@pytest.mark.parametrize('augment', ['Mixup', 'CutMix'])
def test_soft_labels(loss, augment):
    model = classifier(loss=loss, augments=[dict(type=augment, alpha=1.0)])
    assert torch.isfinite(train_step(model)[0]['loss'])


def test_soft_labels_where_the_loss_has_none():
    mixup = [dict(type='Mixup', alpha=1.0)]
    with pytest.raises(ValueError, match='SeesawLoss of `head.loss` failed on the soft labels of `train_cfg.augments`'):
        train_step(classifier(loss=dict(type='SeesawLoss', num_classes=4), augments=mixup))
    with pytest.raises(ValueError, match=r"FastSeesawClsLoss of num_classes=4 expects .* soft labels don't go with it"):
        train_step(classifier(loss=dict(type='FastSeesawClsLoss', num_classes=4), augments=mixup))
    with pytest.raises(ValueError, match='`head.cal_acc=True` does not go with .* `train_cfg.augments`'):
        train_step(classifier(loss=dict(type='CrossEntropyLoss'), cal_acc=True, augments=mixup))


def test_missing_counts_are_not_blamed_on_soft_labels():
    model = classifier(loss=dict(type='BalancedSoftmaxLoss'), augments=[dict(type='Mixup', alpha=1.0)])
    model.head.loss_module.class_counts = model.head.loss_module._vectors = None
    with pytest.raises(RuntimeError, match='no class counts'):
        train_step(model)
