"""Several classifiers on their experts: keys, mean of logits, predictions, training on Digits-LT, what is refused."""
import copy
import os
import socket

import pytest
import torch
import torch.distributed as dist
from expert_runs import COSINE, COUNTS, OWN, PUBLISHED, RECTIFIED, build, digits, features, head, run, state
from process_server import run_ranks

from nbn_mm.datasets import ClassCounts, LabelBatch
from nbn_mm.models.placement import fold
from nbn_mm.models.placement.fold_config import fold_model_config
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')
if host_error('mmpretrain') is None:
    from mmpretrain.structures import DataSample

RECORD = ClassCounts(classes=tuple('abcd'), images=tuple(COUNTS))
LABELS = [0, 1, 0, 3, 2]
ONE_EACH = dict(placement='A', share=r'experts\.(\d+)\.')


def with_counts(model):
    for module in model.modules():
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts(RECORD)
    return model


def samples():
    return [DataSample().set_gt_label(label) for label in LABELS]


def test_keys_mean_and_loss():
    model, feats = with_counts(head()), features()
    assert set(model.state_dict()) == {f'experts.{k}.fc.{name}' for k in range(3) for name in ('weight', 'bias')}
    each = [model.experts[k]['fc'](feats[k]) for k in range(3)]
    torch.testing.assert_close(model(feats), sum(each) / 3)
    loss = model.loss(feats, samples())
    expected = model.loss_module(torch.stack(each, 1), torch.tensor(LABELS))
    assert set(loss) == {'loss'} and loss['loss'] == expected
    loss['loss'].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_each_expert_has_its_own_rectification():
    model, feats = with_counts(head(predictor=RECTIFIED)), features()
    model.train().loss(feats, samples())
    means = [model.experts[k]['fc'].logit_rectification.running_mean for k in range(3)]
    assert not torch.equal(means[0], means[1])
    model.eval()
    plain, report = fold(model)
    assert len(report.classifiers) == 3
    torch.testing.assert_close(plain(feats), model(feats), rtol=1e-4, atol=1e-5)


def test_predictions_hold_those_of_each_expert():
    model, feats = head().eval(), features()
    listed = model.predict(feats, samples())
    batch = model.predict(feats, LabelBatch(DataSample, range(5), gt_label=torch.tensor(LABELS)))
    logits = torch.stack([model.experts[k]['fc'](feats[k]) for k in range(3)], 1)
    assert torch.equal(batch.expert_label, logits.argmax(2))
    assert torch.equal(torch.stack([sample.expert_label for sample in listed]), logits.argmax(2))
    assert torch.equal(torch.stack([sample.expert_label for sample in batch]), logits.argmax(2))
    assert torch.equal(torch.stack([sample.pred_score for sample in listed]), batch.pred_score)
    torch.testing.assert_close(batch.pred_score, logits.mean(1).softmax(1))
    touched = LabelBatch(DataSample, range(5), gt_label=torch.tensor(LABELS))
    assert touched[0].gt_label == 0
    assert model.predict(feats, touched)[4].expert_label.tolist() == logits.argmax(2)[4].tolist()
    assert model.predict(feats)[2].expert_label.tolist() == logits.argmax(2)[2].tolist()


def test_soft_labels_reach_the_base_loss():
    model, feats = with_counts(head()), features()
    soft = [DataSample().set_gt_score(torch.eye(4)[label]) for label in LABELS]
    torch.testing.assert_close(model.loss(feats, soft)['loss'], model.loss(feats, samples())['loss'])


@pytest.mark.parametrize(('options', 'message'), [
    (dict(num_experts=0), 'head.num_experts=0 must be an integer of at least 1'),
    (dict(loss=dict(type='CrossEntropyLoss')), 'head.loss=CrossEntropyLoss takes the logits of one classifier.*RIDE'),
    (dict(cal_acc=True), 'head.cal_acc=True is for one classifier; ExpertAccuracyMetric'),
    (dict(loss=OWN), 'LDAMLoss: its margins are those of a cosine classifier'),
    (dict(loss=OWN, predictor=RECTIFIED), 'LDAMLoss takes up to 30 times a margin.*Behind logit rectification'),
    (dict(loss=OWN, predictor=dict(type='CosineLinear', scale=1)), 'must be equal'),
    (dict(predictor=dict(RECTIFIED, base='CosineLinear', scale=30)), 'CosineLinear'),
])
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        head(**options)


def test_refused_features():
    model = head()
    with pytest.raises(ValueError, match='head.num_experts=3, but the backbone gives 2 feature maps'):
        model(features(experts=2))
    with pytest.raises(ValueError, match='head.in_channels=6 expects features'):
        model(tuple(feat[:, :5] for feat in features()))
    with pytest.raises(ValueError, match="neck=dict"):
        model(tuple(feat[:, :, None, None] for feat in features()))
    with pytest.raises(ValueError, match="head.distillation needs a teacher: model=dict.type='DistilledClassifier'"):
        head(distillation=dict(type='DistillationLoss')).loss(features(), samples())


@pytest.fixture(scope='module')
def own_run(tmp_path_factory):
    """RIDE's own form, re-weighting from epoch 3 of 4 on."""
    folder = tmp_path_factory.mktemp('own')
    hooks = dict(stage=dict(type='StageHook', stages=[dict(begin=3, reweight=True)]))
    return run(digits(folder, OWN, COSINE, epochs=4, hooks=hooks))


def test_own_form_trains_and_resumes_on_digits(own_run, tmp_path):
    assert own_run.model.head.loss_module.reweighting and own_run.model.head.loss_module.base.reweighting
    found = own_run.message_hub.log_scalars
    assert {'val/expert/0_top1', 'val/expert/1_top1', 'val/expert/ensemble_few_top1', 'val/expert/disagreement'} <= set(
        found)
    assert found['val/expert/ensemble_top1'].current() == pytest.approx(found['val/shot/all_top1'].current())
    assert found['val/expert/ensemble_top1'].current() > 30  # chance: 10
    cfg = copy.deepcopy(own_run.cfg)
    cfg.update(work_dir=str(tmp_path), resume=True, load_from=f'{own_run.work_dir}/epoch_3.pth')
    resumed = run(cfg)
    assert resumed.model.head.loss_module.reweighting
    end = state(f'{own_run.work_dir}/epoch_4.pth')
    assert all(torch.equal(value, end[key]) for key, value in state(tmp_path / 'epoch_4.pth').items())


def test_published_form_trains_on_digits(tmp_path):
    runner = run(digits(tmp_path, PUBLISHED, RECTIFIED, epochs=4, nbn=ONE_EACH))
    magnitudes = [value for key, value in state(tmp_path / 'epoch_4.pth').items() if 'backbone.nbn.magnitudes.' in key]
    assert len(magnitudes) == 2 and not torch.equal(*magnitudes) and all(value != 1 for value in magnitudes)
    assert runner.message_hub.log_scalars['val/shot/all_top1'].current() > 30  # chance: 10


NETWORK = dict(
    type='ImageClassifier',
    backbone=dict(type='NBNBackbone', base='MultiExpertBackbone', network='CIFARResNet', depth=8, num_experts=2,
                  nbn=ONE_EACH),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='MultiExpertClsHead', num_experts=2, num_classes=4, in_channels=64, predictor=RECTIFIED,
              loss=PUBLISHED))


def network():
    return with_counts(build(copy.deepcopy(NETWORK)))


def test_the_folded_config_fits_the_folded_network():
    model, x = network(), torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model.train()(x, [DataSample().set_gt_label(label) for label in range(4)], mode='loss')
    folded, _ = fold(model.eval())
    cfg = fold_model_config(NETWORK)
    assert cfg['backbone']['type'] == 'MultiExpertBackbone' and cfg['head']['predictor'] == dict(type='Linear')
    plain = build(cfg).eval()
    plain.load_state_dict(folded.state_dict(), strict=True)
    torch.testing.assert_close(plain(x), model(x), rtol=1e-4, atol=1e-5)


def rank_main(rank, port, folder):
    torch.set_num_threads(1)
    os.environ['MASTER_ADDR'] = '127.0.0.1'
    dist.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    model = torch.nn.parallel.DistributedDataParallel(network())  # unused parameters would be an error
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2 * step + rank))
        optimizer.zero_grad()
        model(x, [DataSample().set_gt_label(label) for label in (0, 1, 2, 3)], mode='loss')['loss'].backward()
        optimizer.step()
    torch.save(dict(model.module.named_parameters()), f'{folder}/{rank}.pth')
    dist.destroy_process_group()


def test_two_processes(tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    run_ranks(rank_main, port, str(tmp_path))
    first, second = (torch.load(tmp_path / f'{rank}.pth', weights_only=False) for rank in (0, 1))
    start = dict(network().named_parameters())
    assert all(torch.equal(first[key], second[key]) for key in first)
    # a bias behind logit rectification has no gradient
    assert [key for key in first if torch.equal(first[key], start[key]) and not key.endswith('fc.bias')] == []
