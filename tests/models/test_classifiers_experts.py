"""Distillation from a frozen teacher, and routing of experts: what learns, what is computed, what is refused."""
import copy

import pytest
import torch
from expert_runs import COSINE, OWN, PUBLISHED, build, digits, features, head, run, state
from references.ride import routing_targets as reference_targets

from nbn_mm.datasets import ClassCounts
from nbn_mm.engine.launch.checks import check_pretrained
from nbn_mm.engine.launch.errors import LaunchError
from nbn_mm.models.layers.expert_router import ExpertRouter, routing_targets
from nbn_mm.models.losses.distillation_loss import distillation_loss
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')
if host_error('mmpretrain') is None:
    from mmpretrain.structures import DataSample

ROUTING = dict(top_choices=3, pos_weight=2.0)
FREEZE = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=['.'], train=[r'^head\.router\.'], norm='frozen')]))


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    """One epoch of RIDE with its config file."""
    folder = tmp_path_factory.mktemp('teacher')
    cfg = digits(folder, OWN, COSINE, epochs=1)
    run(cfg)
    cfg.dump(str(folder / 'teacher.py'))
    return dict(config=str(folder / 'teacher.py'), checkpoint=str(folder / 'epoch_1.pth'))


def distilled(work_dir, teacher, **options):
    model = dict(type='DistilledClassifier', teacher=teacher,
                 head=dict(distillation=dict(type='DistillationLoss', temperature=1.5)))
    return digits(work_dir, OWN, COSINE, epochs=1, model=model, **options)


def test_distillation_trains_on_digits(teacher, tmp_path):
    runner = run(distilled(tmp_path, teacher))
    assert runner.message_hub.log_scalars['train/distillation_loss'].current() > 0
    student = state(tmp_path / 'epoch_1.pth')
    assert student.keys() == state(teacher['checkpoint']).keys()  # no teacher in it
    kept = runner.model.teacher.model
    assert not kept.training and all(parameter.grad is None for parameter in kept.parameters())
    assert all(torch.equal(value, kept.state_dict()[key]) for key, value in state(teacher['checkpoint']).items())
    assert copy.deepcopy(runner.model).teacher is runner.model.teacher


def record():
    return ClassCounts(classes=tuple('abcdefghij'), images=tuple(range(10, 0, -1)))


def test_distillation_is_part_of_the_loss(teacher, tmp_path):
    model = build(distilled(tmp_path, teacher).model).train()
    x = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    labels = [DataSample().set_gt_label(label) for label in (0, 1, 2, 3)]
    model.head.loss_module.base.set_class_counts(record())
    found = model.loss(x, labels)
    logits = model.head(model.extract_feat(x))
    expected = distillation_loss(logits, model.teacher(x), 1.5)
    torch.testing.assert_close(found['distillation_loss'], expected)
    found['distillation_loss'].backward()
    assert model.backbone.experts[1].layer3[0].conv1.weight.grad.abs().sum() > 0


def test_missing_teacher(teacher, tmp_path):
    cfg = distilled(tmp_path, dict(teacher, checkpoint=str(tmp_path / 'none.pth')))
    with pytest.raises(LaunchError, match='model.teacher.checkpoint .*none.pth. does not exist'):
        check_pretrained(cfg)
    check_pretrained(distilled(tmp_path, teacher))
    runner = run(cfg, train=False)  # a test needs no teacher
    with pytest.raises(FileNotFoundError, match='model.teacher: there is no checkpoint .*Train the teacher first'):
        runner.train()
    assert not list(tmp_path.glob('*.pth'))


def test_foreign_teacher(teacher, tmp_path):
    def step(cfg):
        build(cfg.model).loss(torch.zeros(2, 3, 12, 12), [DataSample().set_gt_label(label) for label in (0, 1)])

    foreign = distilled(tmp_path, dict(teacher, checkpoint=str(tmp_path / 'foreign.pth')))
    torch.save(dict(state_dict=dict(weight=torch.ones(1))), tmp_path / 'foreign.pth')
    with pytest.raises(ValueError, match='model.teacher.checkpoint=.* does not fit model.teacher.config='):
        step(foreign)
    other = distilled(tmp_path, teacher)
    other.model.data_preprocessor.mean = [0.0] * 3
    with pytest.raises(ValueError, match='model.data_preprocessor.mean of the student and of the teacher'):
        step(other)
    other = distilled(tmp_path, teacher)
    other.model.data_preprocessor.to_rgb = not other.model.data_preprocessor.get('to_rgb', False)
    with pytest.raises(ValueError, match='model.data_preprocessor.to_rgb of the student and of the teacher'):
        step(other)
    with pytest.raises(ValueError, match='model.teacher=.* must be dict'):
        build(distilled(tmp_path, dict(config='x')).model)
    plain = digits(tmp_path, OWN, COSINE, model=dict(type='DistilledClassifier', teacher=teacher))
    with pytest.raises(ValueError, match='model.teacher needs a head that learns from it'):
        build(plain.model)


def test_routing_targets():
    logits = torch.randn(200, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.randint(3, (200, ), generator=torch.Generator().manual_seed(1))
    found = routing_targets(logits, labels)
    assert found.double().tolist() == reference_targets(logits.numpy(), labels.tolist()).tolist()
    assert 0 < found.double().mean() < 1


def test_router_by_hand():
    torch.manual_seed(0)
    router = ExpertRouter(6, 3, top_choices=2, hidden_features=5)
    x, logits = features()[0], torch.randn(5, 4)
    found = router(x, logits, 1)
    for i in range(5):
        unit = x[i] / x[i].square().sum().sqrt()
        hidden = (router.hidden[1].weight @ unit + router.hidden[1].bias).clamp(min=0)
        highest = torch.tensor(sorted(logits[i].tolist(), reverse=True)[:2])
        assert found[i].item() == pytest.approx(
            (router.decision.weight[0] @ torch.cat([highest, hidden]) + router.decision.bias[0]).item(), abs=1e-5)


def routed_head(**routing):
    model = head('RoutedExpertClsHead', routing=dict(ROUTING) | routing)
    with torch.no_grad():
        model.router.decision.weight.copy_(torch.randn(model.router.decision.weight.shape))
    return model


def test_routed_prediction_is_that_of_single_images():
    """Image by image: experts are asked until the router says no, and the mean of those asked is the prediction."""
    model, feats = routed_head().eval(), features(number=40)
    used = []
    predictions = model.predict(feats, [DataSample() for _ in range(40)])
    for i, prediction in enumerate(predictions):
        total, labels = torch.zeros(4), [-1, -1, -1]
        for k in range(3):
            logits = model.experts[k]['fc'](feats[k][i])
            total, labels[k] = total + logits, int(logits.argmax())
            if k == 2 or model.router(feats[k][i:i + 1], total[None] / (k + 1), k).sigmoid() <= 0.5:
                break
        used.append(k + 1)
        torch.testing.assert_close(prediction.pred_score, (total / (k + 1)).softmax(0))
        assert prediction.expert_label.tolist() == labels and prediction.experts_used == k + 1
    assert set(used) == {1, 2, 3}
    torch.testing.assert_close(model(feats).softmax(1), torch.stack([p.pred_score for p in predictions]))


def test_routing_trains_the_router_alone(teacher, tmp_path):
    routed = dict(type='RoutedClassifier', head=dict(type='RoutedExpertClsHead', routing=ROUTING))
    cfg = digits(tmp_path, OWN, COSINE, epochs=1, model=routed, hooks=FREEZE)
    with pytest.raises(RuntimeError, match='no checkpoint was loaded. Give `load_from`'):
        run(cfg)
    cfg.load_from = teacher['checkpoint']
    runner = run(cfg)
    before, after = state(teacher['checkpoint']), state(tmp_path / 'epoch_1.pth')
    assert all(torch.equal(value, after[key]) for key, value in before.items())  # statistics of batch norm as well
    start = build(cfg.model.head).router.state_dict()
    assert {key for key in after if key not in before} == {f'head.router.{key}' for key in start}
    assert any(not torch.equal(value, after[f'head.router.{key}']) for key, value in start.items())
    assert runner.message_hub.log_scalars['val/expert/0_top1'].current() > 10


def test_routing_computes_what_is_asked(teacher, tmp_path):
    routed = dict(type='RoutedClassifier', head=dict(type='RoutedExpertClsHead', routing=ROUTING))
    model = build(digits(tmp_path, OWN, COSINE, model=routed).model).eval()
    x = torch.randn(32, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    feats = model.extract_feat(x)
    decisions = model.head.router(feats[0], model.head.expert_logits(feats)[:, 0], 0)
    model.head.threshold = decisions.sigmoid().median().item()  # half of the images go on
    seen = []
    for expert in model.backbone.experts:
        expert.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    predictions = model.predict(x, [DataSample() for _ in range(32)])
    used = torch.stack([torch.as_tensor(sample.experts_used) for sample in predictions])
    assert seen == [32, int((used > 1).sum())] and 0 < seen[1] < 32
    whole = model.head.predict(model.extract_feat(x), [DataSample() for _ in range(32)])
    for a, b in zip(predictions, whole, strict=True):
        torch.testing.assert_close(a.pred_score, b.pred_score, rtol=1e-4, atol=1e-6)
        assert a.experts_used == b.experts_used


@pytest.mark.parametrize(('options', 'error', 'message'), [
    (dict(routing=dict(top_choices=5)), ValueError, 'head.routing.top_choices=5 must be at most the number of cl.*, 4'),
    (dict(routing=dict(top_choices=0)), ValueError, 'head.routing.top_choices=0 must be an integer of at least 1'),
    (dict(routing=dict(threshold=1.0, top_choices=2)), ValueError, 'threshold between 0 and 1'),
    (dict(routing=dict(temperature=1)), TypeError, 'must be a dict with keys among'),
    (dict(routing=ROUTING, num_experts=1), ValueError, 'head.num_experts=1 must be at least 2'),
    (dict(routing=ROUTING, distillation=dict(type='DistillationLoss')), ValueError, 'head.distillation has no meaning'),
])
def test_routing_refused(options, error, message):
    with pytest.raises(error, match=message):
        head('RoutedExpertClsHead', **options)


def test_routing_refuses_soft_labels_and_other_networks(tmp_path):
    soft = [DataSample().set_gt_score(torch.full((4, ), 0.25)) for _ in range(5)]
    with pytest.raises(ValueError, match='needs one label an image'):
        routed_head().loss(features(), soft)
    cfg = digits(tmp_path, PUBLISHED, dict(type='Linear'), model=dict(type='RoutedClassifier'))
    with pytest.raises(ValueError, match='RoutedClassifier needs backbone='):
        build(cfg.model)
