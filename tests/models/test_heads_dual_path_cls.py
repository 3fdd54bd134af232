"""DualPathClsHead on mmpretrain: the losses of both paths, on shared weights."""
import copy

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')

from mmengine.registry import MODELS, DefaultScope  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402

from nbn_mm.datasets.label_batch import LabelBatch  # noqa: E402

LABELS = torch.tensor([0, 1, 2, 0])
FEATURES = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


def build(**kwargs):
    torch.manual_seed(1)
    cfg = dict(type='DualPathClsHead', num_classes=3, in_channels=6, loss=dict(type='CrossEntropyLoss'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build({**cfg, **kwargs}).train()


def samples():
    return [DataSample().set_gt_label(label) for label in LABELS]


@pytest.mark.parametrize('batch', [False, True], ids=['samples', 'label batch'])
@pytest.mark.parametrize('weight', [0.0, 0.5, 2.0])
def test_losses_of_both_paths(weight, batch):
    head = build(split_weight=weight)
    data = LabelBatch(DataSample, range(4), gt_label=LABELS) if batch else samples()
    features = FEATURES.clone().requires_grad_()
    losses = head.loss((features, ), data)
    assert set(losses) == {'loss', 'loss_split'}
    scores = FEATURES @ head.fc.weight.T + head.fc.bias
    torch.testing.assert_close(losses['loss'], F.cross_entropy(scores[:4], LABELS))
    torch.testing.assert_close(losses['loss_split'], weight * F.cross_entropy(scores[4:], LABELS))
    sum(losses.values()).backward()
    gradient = (scores.softmax(1) - F.one_hot(LABELS, 3).repeat(2, 1)) / 4
    gradient[4:] *= weight
    torch.testing.assert_close(features.grad, gradient @ head.fc.weight)
    torch.testing.assert_close(head.fc.weight.grad, gradient.T @ FEATURES)


def test_consistency_pulls_the_compound_path_alone():
    head = build(consistency_weight=0.5, split_weight=0.0)
    features = FEATURES.clone().requires_grad_()
    losses = head.loss((features, ), samples())
    p, q = (F.softmax(head.fc(FEATURES), 1)[rows] for rows in (slice(4, 8), slice(0, 4)))
    expected = 0.5 * (p * (p.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(losses['loss_consistency'], expected)
    losses['loss_consistency'].backward()
    assert not features.grad[4:].any()
    torch.testing.assert_close(features.grad[:4], 0.5 / 4 * (q - p) @ head.fc.weight)


def test_moving_statistics_follow_the_compound_path():
    """Logit rectification normalises each path by itself, and its averages are those of the path that is tested."""
    head = build(predictor=dict(type='RectifiedPredictor', base='Linear'), cal_acc=True, topk=(1, ))
    other = copy.deepcopy(head)
    losses = head.loss((FEATURES, ), samples())
    other.fc(FEATURES[:4])
    for name, value in head.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    scores = F.batch_norm(FEATURES[4:] @ head.fc.weight.T + head.fc.bias, None, None, training=True)
    torch.testing.assert_close(losses['loss_split'], F.cross_entropy(scores, LABELS))
    assert set(losses) == {'loss', 'loss_split', 'accuracy_top-1'}


def test_loss_counts_an_image_once():
    """Seesaw accumulates the labels that it sees."""
    head = build(loss=dict(type='FastSeesawClsLoss', num_classes=3))
    head.loss((FEATURES, ), samples())
    counts = [buffer for name, buffer in head.loss_module.named_buffers() if buffer.shape == (3, )]
    assert counts and all(buffer.sum() <= 4 + 3 for buffer in counts)


def test_balanced_softmax_on_both_paths():
    head = build(loss=dict(type='BalancedSoftmaxLoss', class_counts=[6, 3, 1]))
    losses = head.loss((FEATURES, ), samples())
    scores = head.fc(FEATURES) + torch.tensor([6.0, 3.0, 1.0]).log()
    torch.testing.assert_close(losses['loss'], F.cross_entropy(scores[:4], LABELS))
    torch.testing.assert_close(losses['loss_split'], F.cross_entropy(scores[4:], LABELS))


def test_one_path():
    head = build()
    with pytest.raises(ValueError, match='8 rows of features for 3 images and expects those of two paths.*LongTailCls'):
        head.loss((FEATURES, ), samples()[:3])
    with pytest.raises(ValueError, match='4 rows of features for 4 images'):
        head.loss((FEATURES[:4], ), samples())
    head.eval()
    losses = head.loss((FEATURES[:4], ), samples())
    torch.testing.assert_close(losses['loss'], F.cross_entropy(head.fc(FEATURES[:4]), LABELS))
    assert set(losses) == {'loss'} and len(head.predict((FEATURES[:4], ))) == 4


@pytest.mark.parametrize('options, message', [
    (dict(split_weight=-1), 'head.split_weight=-1 must be a number >= 0'),
    (dict(split_weight='a'), "head.split_weight='a'"),
    (dict(consistency_weight=float('nan')), 'head.consistency_weight=nan')], ids=str)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
