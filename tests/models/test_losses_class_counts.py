"""What holds for every loss on class counts of classification: edges, precision, counts, and training on Digits-LT."""
import copy
import json
from pathlib import Path

import pytest
import torch
from count_losses import COUNTS, inputs, loss_module, record
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS
from mmengine.runner import Runner

from nbn_mm.utils.hosts import host_error

LOSSES = ['AdaptiveLogitAdjustmentLoss', 'ClassBalancedLoss', 'GaussianCloudedLogitLoss', 'LDAMLoss',
          'LogitAdjustmentLoss', 'SoftmaxEqualizationLoss']
COSINE = ['AdaptiveLogitAdjustmentLoss', 'GaussianCloudedLogitLoss', 'LDAMLoss']
DEMO = Path(__file__).resolve().parents[2] / 'configs/demo/resnet8_bn_ce_digits_lt.py'
on_mmpretrain = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('soft', [False, True])
def test_no_rows(name, soft):
    logits = torch.randn(0, 4, requires_grad=True)
    loss = loss_module(name)(logits, torch.zeros(0, 4) if soft else torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == (0, 4)


@pytest.mark.parametrize('name', LOSSES)
def test_all_rows_ignored(name):
    logits = torch.randn(3, 4, requires_grad=True)
    loss = loss_module(name)
    if hasattr(loss, 'set_reweighting'):
        loss.set_reweighting(True)
    value = loss(logits, torch.full((3, ), -100))
    value.backward()
    assert value.item() == 0 and not logits.grad.any()


@pytest.mark.parametrize('name', LOSSES)
def test_one_class(name):
    logits = torch.randn(3, 1, requires_grad=True)
    loss = loss_module(name, [9])(logits, torch.zeros(3, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('soft', [False, True])
def test_half_logits_are_computed_in_float32(name, dtype, soft):
    logits, target = inputs(soft=soft, dtype=dtype, scale=30)
    loss = loss_module(name)
    results = []
    for convert in (lambda x: x, lambda x: x.float()):
        torch.manual_seed(0)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            results.append(loss(convert(logits), target))
    results[0].backward()
    assert results[0].dtype == torch.float32 and logits.grad.dtype == dtype and logits.grad.isfinite().all()
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize('name', LOSSES)
def test_soft_labels_of_one_class_are_labels(name):
    logits, target = inputs()
    loss, values = loss_module(name), []
    for labels in (target, torch.nn.functional.one_hot(target, 4).double()):
        torch.manual_seed(0)
        values.append(loss(logits, labels))
    torch.testing.assert_close(*values)


@pytest.mark.parametrize('name', LOSSES)
def test_bad_inputs(name):
    loss = loss_module(name)
    with pytest.raises(ValueError, match='5 logits, but class counts of 4 classes. Change `head.num_classes`'):
        loss(torch.randn(2, 5), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r'expects logits \(N, C\), got shape \(4,\)'):
        loss(torch.randn(4), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match='columns of soft labels'):
        loss(torch.randn(2, 4), torch.full((2, 10), 0.1))
    for label in (4, -1):
        with pytest.raises(ValueError, match=f'label {label} is outside of the 4 classes'):
            loss(torch.randn(2, 4), torch.tensor([0, label]))
    with pytest.raises(ValueError, match="reduction='max'"):
        loss(*inputs(), reduction_override='max')
    with pytest.raises(ValueError, match='avg_factor does not go with'):
        loss(*inputs(), avg_factor=3, reduction_override='sum')


@pytest.mark.parametrize('name', LOSSES)
def test_counts(name):
    with pytest.raises(RuntimeError, match=f"{name} has no class counts.*type='ClassCountsHook'"):
        MODELS.build(dict(type=name))(*inputs())
    with pytest.raises(ValueError, match=f'{name}: no training images for 1 of 4 classes: name2'):
        loss_module(name, [5, 3, 0, 2])
    with pytest.raises(ValueError, match=f'{name}: no training images for 1 of 2 classes: 1'):
        MODELS.build(dict(type=name, class_counts=[5, 0]))
    with pytest.raises(ValueError, match="zero_count='drop' must be"):
        MODELS.build(dict(type=name, zero_count='drop'))
    own = MODELS.build(dict(type=name, class_counts=COUNTS))
    values = []
    for loss in (own, loss_module(name)):
        torch.manual_seed(0)
        values.append(loss(*inputs()))
    assert values[0] == values[1] and not loss.class_counts_at_test
    own.set_class_counts(record([1, 2, 3, 4]))
    assert own.class_counts.images == tuple(COUNTS)
    with pytest.raises(ValueError, match='holds 4 classes, but the training set has 2'):
        own.set_class_counts(record([5, 4]))


@pytest.mark.parametrize('name', LOSSES)
def test_counts_are_no_state(name):
    model = torch.nn.Sequential(MODELS.build(dict(type=name)), torch.nn.BatchNorm1d(3))
    average = ExponentialMovingAverage(model, momentum=0.5)
    model[0].set_class_counts(record())
    model[0](*inputs())
    assert not model[0].state_dict() and not list(model[0].buffers())
    average.update_parameters(model)
    assert copy.deepcopy(model)[0].class_counts == record()


def head(predictor, loss):
    from mmpretrain.registry import MODELS
    return MODELS.build(dict(type='LongTailClsHead', num_classes=4, in_channels=6, predictor=predictor, loss=loss))


@on_mmpretrain
@pytest.mark.parametrize('name', COSINE)
@pytest.mark.parametrize('wrapped', [False, True])
def test_margins_need_the_cosine_classifier_of_their_scale(name, wrapped):
    """Refused at construction: behind logit rectification, on a linear classifier, at another or a learnable scale."""
    from mmpretrain.registry import MODELS

    @MODELS.register_module(force=True)
    class WrappingLoss(torch.nn.Module):

        def __init__(self, base):
            super().__init__()
            self.base = MODELS.build(base)

    loss = dict(type='WrappingLoss', base=dict(type=name)) if wrapped else dict(type=name)
    try:
        for base in ('Linear', 'CosineLinear'):
            with pytest.raises(ValueError, match=rf'{name} takes up to 30 times a margin.*Behind logit rectification'):
                head(dict(type='RectifiedPredictor', base=base), loss)
        with pytest.raises(ValueError, match=f"{name}: .*is Linear, which has no scale.*'CosineLinear', scale=30"):
            head(None, loss)
        with pytest.raises(ValueError, match=f'{name}: scale=30 .*`head.predictor.scale` is 1.'):
            head(dict(type='CosineLinear'), loss)
        with pytest.raises(ValueError, match=f'{name}: .*learnable'):
            head(dict(type='CosineLinear', scale=30, learn_scale=True), loss)
        assert list(head(dict(type='CosineLinear', scale=30), loss).state_dict()) == ['fc.weight']
    finally:
        MODELS.module_dict.pop('WrappingLoss')


def digits(tmp_path, head, epochs=2, hooks=None):
    cfg = Config.fromfile(DEMO)
    cfg.merge_from_dict(dict(
        work_dir=str(tmp_path), experiment_name=f'class_counts_{tmp_path.name}', train_cfg=dict(max_epochs=epochs),
        train_dataloader=dict(num_workers=0, persistent_workers=False), val_dataloader=None, val_cfg=None,
        val_evaluator=None, test_dataloader=None, test_cfg=None, test_evaluator=None, log_level='WARNING',
        default_hooks=hooks or {}))
    cfg.model.head.update(head)
    cfg.default_hooks = {name: hook for name, hook in cfg.default_hooks.items() if hook is not None}
    return Runner.from_cfg(cfg)


def losses_of(runner):
    """The loss of each iteration, as a list that grows."""
    from mmengine.hooks import Hook
    found = []

    class Collect(Hook):

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            found.append(outputs['loss'].item())

    runner.register_hook(Collect())
    return found


@on_mmpretrain
@pytest.mark.parametrize('name', [*LOSSES, 'FocalLoss'])
def test_trains_on_digits_lt(tmp_path, name):
    loss = dict(type=name, threshold=0.05) if name == 'SoftmaxEqualizationLoss' else dict(type=name)
    predictor = dict(type='CosineLinear', scale=30) if name in COSINE else dict(type='Linear')
    runner = digits(tmp_path, dict(loss=loss, predictor=predictor), epochs=3)
    losses = losses_of(runner)
    runner.train()
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
    epoch = len(losses) // 3
    assert sum(losses[-epoch:]) < 0.97 * sum(losses[:epoch])
    if name != 'FocalLoss':
        assert len(runner.model.head.loss_module.class_counts.images) == 10


@on_mmpretrain
def test_drw_weighs_classes_from_its_epoch_on(tmp_path):
    head = dict(loss=dict(type='LDAMLoss', beta=0.999), predictor=dict(type='CosineLinear', scale=30))
    runner = digits(tmp_path, head, epochs=3, hooks=dict(
        stage=dict(type='StageHook', stages=[dict(begin=2, reweight=True)])))
    loss, seen = runner.model.head.loss_module, {}
    logits, target = torch.zeros(2, 10), torch.tensor([0, 9])

    def note(module, args, output):
        if not note.busy:
            note.busy = True
            rows = module(logits, target, reduction_override='none')
            seen.setdefault(runner.epoch, set()).add(round(float(rows[1] / rows[0]), 4))
            note.busy = False

    note.busy = False
    loss.register_forward_hook(note)
    runner.train()
    ratio = float(loss.vectors(logits)[1][9] / loss.vectors(logits)[1][0])
    (plain, ), (weighted, ) = seen[0], seen[2]
    assert ratio > 3 and seen[1] == {plain} and weighted == pytest.approx(plain * ratio, rel=1e-3)


@on_mmpretrain
def test_an_option_that_a_stage_sets_counts_from_there_on(tmp_path):
    """Also where it shapes what the loss keeps of the counts."""
    runner = digits(tmp_path, dict(loss=dict(type='LogitAdjustmentLoss', tau=0.0)), epochs=2, hooks=dict(
        stage=dict(type='StageHook', stages=[dict(begin=1, set={'model.head.loss_module.tau': 1.0})])))
    seen = {}

    def note(module, args, output):
        seen[runner.epoch] = module.vectors(args[0])[0]

    runner.model.head.loss_module.register_forward_hook(note)
    runner.train()
    assert not seen[0].any() and seen[1].exp().sum() == pytest.approx(1)


def test_equal_counts_are_worked_out_once():
    loss, found = loss_module('SoftmaxEqualizationLoss'), []
    loss.class_vectors = lambda given: found.append(given) or (torch.zeros(4, dtype=torch.bool), )
    counts = record([4, 3, 2, 1])
    for given in (counts, counts, record([1, 2, 3, 4])):
        loss.set_class_counts(given)
    assert [given.images[0] for given in found] == [4, 1]


@on_mmpretrain
def test_a_loss_without_its_hook_is_an_error_before_the_first_step(tmp_path):
    runner = digits(tmp_path, dict(loss=dict(type='ClassBalancedLoss')), hooks=dict(class_counts=None))
    with pytest.raises(RuntimeError, match='ClassBalancedLoss has no class counts'):
        runner.train()
    assert runner.iter == 0


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('given', [dict(name3=1, name1=60, name0=500, name2=7),
                                   dict(classes=['name2', 'name0', 'name3', 'name1'], images=[7, 500, 1, 60])], ids=str)
def test_counts_by_name_are_put_in_label_order(name, given, tmp_path):
    (tmp_path / 'counts.json').write_text(json.dumps(given))
    logits, target = inputs()
    expected = loss_module(name)(logits, target)
    for value in (given, str(tmp_path / 'counts.json')):
        loss = loss_module(name, class_counts=value)
        assert loss.class_counts.images == tuple(COUNTS)
        torch.manual_seed(0)  # GCL draws noise
        first = loss(logits, target)
        torch.manual_seed(0)
        assert torch.equal(first, loss_module(name)(logits, target)) and first.shape == expected.shape


def test_counts_by_name_of_other_classes():
    with pytest.raises(ValueError, match=r"`class_counts` of LDAMLoss.*missing \['name3'\], unknown \['name9'\]"):
        loss_module('LDAMLoss', class_counts=dict(name0=5, name1=4, name2=3, name9=2))
