"""mmdet's box heads with each loss, each predictor and logit rectification; the host's Seesaw loss over two ranks."""
import os
import socket

import pytest
import torch
import torch.distributed as dist
from mmengine.registry import DefaultScope
from process_server import run_ranks
from torch import nn

from nbn_mm.datasets import ClassCounts
from nbn_mm.utils.hosts import host_error

if host_error('mmdet') is not None:
    pytest.skip('mmdet does not import', allow_module_level=True)
from mmdet.registry import MODELS  # noqa: E402

CLASSES = 5
# loss, outputs behind those of the classes that are rectified by default
LOSSES = {
    'CrossEntropyLoss': (dict(), 6, 0),
    'BoxBalancedSoftmaxLoss': (dict(), 6, 0),
    'EqualizationLoss': (dict(num_classes=CLASSES, num_images=100, prior_prob=0.001), 5, 0),
    'EqualizationV2Loss': (dict(num_classes=CLASSES, prior_prob=0.001), 6, 0),
    'SeesawLoss': (dict(num_classes=CLASSES), 7, 2),
    'FastSeesawLoss': (dict(num_classes=CLASSES), 7, 2),
}
RECTIFIED = pytest.mark.parametrize('base', ['Linear', 'NormedLinear'])
EACH_LOSS = pytest.mark.parametrize('name', LOSSES)


def box_head(name='SeesawLoss', base='Linear', rectified=True, classes=CLASSES, **kwargs):
    options, _, unrectified = LOSSES[name]
    predictor = dict(type='RectifiedPredictor', base=base, rectification=dict(unrectified=unrectified))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = MODELS.build(dict(
            type='Shared2FCBBoxHead', in_channels=3, fc_out_channels=16, roi_feat_size=2, num_classes=classes,
            cls_predictor_cfg=predictor if rectified else dict(type=base),
            loss_cls=dict(options, type=name, **(dict(num_classes=classes) if classes != CLASSES else {})), **kwargs))
    head.init_weights()
    if hasattr(head.loss_cls, 'set_class_counts'):
        head.loss_cls.set_class_counts(ClassCounts('abcde', [60, 30, 9, 2, 0]))
    return head


def losses_of(head, features, labels):
    rows = len(labels)
    scores, boxes = head(features)
    found = head.loss(scores, boxes, torch.rand(rows, 5), labels, torch.ones(rows), torch.zeros(rows, 4),
                      torch.zeros(rows, 4))
    return {key: value for key, value in found.items() if 'loss' in key}, scores


@EACH_LOSS
@RECTIFIED
@pytest.mark.parametrize('rectified, agnostic', [(False, False), (True, False), (True, True)])
def test_trains(name, base, rectified, agnostic):
    head = box_head(name, base, rectified, reg_class_agnostic=agnostic)
    steps = torch.optim.SGD(head.parameters(), lr=0.02, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 0, 1, 2] + [CLASSES] * 12)
    prototypes = torch.randn(CLASSES + 1, 3, 2, 2, generator=generator)
    values = []
    for _ in range(40):
        features = prototypes[labels] + 0.1 * torch.randn(16, 3, 2, 2, generator=generator)
        found, scores = losses_of(head, features, labels)
        steps.zero_grad()
        sum(found.values()).backward()
        steps.step()
        values.append(sum(value.item() for key, value in found.items() if 'cls' in key))
    _, width, unrectified = LOSSES[name]
    assert scores.shape == (16, width)
    assert values[-1] < 0.9 * values[0]
    if not rectified:
        return
    layer = head.fc_cls.logit_rectification
    assert layer.running_mean.shape == (width - unrectified, ) and layer.num_batches_tracked == 40
    seen = scores[:, :3].detach()
    torch.testing.assert_close(seen.mean(0), torch.zeros(3), atol=1e-4, rtol=0)


@EACH_LOSS
@pytest.mark.parametrize('rows', [0, 1])
def test_too_few_proposals_leave_the_moving_averages_alone(name, rows):
    head = box_head(name, 'NormedLinear')
    losses_of(head, torch.randn(8, 3, 2, 2), torch.tensor([0, 1, 2, 3, 5, 5, 5, 5]))
    before = head.fc_cls.logit_rectification.running_var.clone()
    found, scores = losses_of(head, torch.randn(rows, 3, 2, 2), torch.full((rows, ), CLASSES))
    assert scores.shape == (rows, LOSSES[name][1])
    sum(found.values()).backward()
    assert all(torch.isfinite(value).all() for value in found.values())
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)
    assert torch.equal(head.fc_cls.logit_rectification.running_var, before)


@RECTIFIED
@pytest.mark.parametrize('init_cfg', [
    dict(type='Constant', val=3.0, bias=2.0, override=dict(name='fc_cls')),
    dict(type='Normal', layer=['Linear', 'NormedLinear'], std=3.0),
    [dict(type='Normal', std=0.01, bias_prob=0.001, override=dict(name='fc_cls'))],
])
def test_no_init_reaches_the_statistics(base, init_cfg):
    layer = box_head('CrossEntropyLoss', base, init_cfg=init_cfg).fc_cls.logit_rectification
    assert torch.equal(layer.running_mean, torch.zeros(6)) and torch.equal(layer.running_var, torch.ones(6))


def test_a_bias_prior_survives_linear_only():
    """NormedLinear initialises itself after the head: hence the option ``prior_prob`` of the sigmoid losses."""
    init_cfg = [dict(type='Normal', std=0.01, bias_prob=0.001, override=dict(name='fc_cls'))]
    start = {base: box_head('EqualizationV2Loss', base, False, init_cfg=init_cfg).fc_cls.bias[0].item()
             for base in ('Linear', 'NormedLinear')}
    assert start == {'Linear': pytest.approx(-6.9068, abs=1e-4), 'NormedLinear': 0.0}


@pytest.mark.parametrize('name', ['EqualizationLoss', 'EqualizationV2Loss'])
def test_prior_prob_is_a_bias(name):
    """The same loss as with the bias of the published code, which behind logit rectification would vanish."""
    options = dict(LOSSES[name][0], type=name)
    features, labels = torch.randn(6, 3, 2, 2), torch.tensor([0, 1, 2, 3, 5, 5])
    shifted = box_head(name, rectified=False)
    biased = box_head(name, rectified=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        biased.loss_cls = MODELS.build(dict(options, prior_prob=None))
    if name == 'EqualizationLoss':
        biased.loss_cls.set_class_counts(ClassCounts('abcde', [60, 30, 9, 2, 0]))
    nn.init.constant_(biased.fc_cls.bias, -6.906754778648554)
    torch.testing.assert_close(losses_of(shifted, features, labels)[0]['loss_cls'],
                               losses_of(biased, features, labels)[0]['loss_cls'])


@EACH_LOSS
def test_scores_are_those_of_the_rectified_logits(name):
    """At test the head's own activation gets C + 1 columns, whatever the number of outputs."""
    head = box_head(name).eval()
    head.fc_cls.logit_rectification.running_mean.fill_(0.5)
    scores, boxes = head(torch.randn(3, 3, 2, 2))
    result, = head.predict_by_feat((torch.rand(3, 5) * 9, ), (scores, ), (boxes, ),
                                   [dict(img_shape=(9, 9), scale_factor=(1.0, 1.0))], rcnn_test_cfg=None)
    activation = head.loss_cls.get_activation if head.custom_cls_channels else lambda z: z.softmax(1)
    assert result.scores.shape == (3, CLASSES + 1)
    torch.testing.assert_close(result.scores, activation(scores))
    none = head.predict_by_feat((torch.zeros(0, 5), ), (scores[:0], ), (boxes[:0], ),
                                [dict(img_shape=(9, 9), scale_factor=(1.0, 1.0))], rcnn_test_cfg=None)
    assert none[0].scores.shape == (0, CLASSES + 1)


@pytest.mark.parametrize('unrectified, least, most', [(0, 0.0, 0.5), (1, 0.95, 1.0)])
def test_background_behind_rectification(unrectified, least, most):
    """docs/lvis_losses.md: rectified, the background of 3 in 4 proposals is never above 0.58, so never likely."""
    from nbn_mm.models.layers import LogitRectification
    rows, classes = 64, 20
    labels = torch.tensor([0] * 8 + [1] * 4 + [2] * 4 + [classes] * 48)
    logits = torch.zeros(rows, classes + 1).scatter_(1, labels[:, None], 9.0) + 0.01 * torch.randn(rows, classes + 1)
    layer = LogitRectification(classes + 1, unrectified=unrectified)
    found = layer(logits)
    assert unrectified or found[16:, -1].max() < 0.59
    assert least <= found.softmax(1)[16:, -1].mean() <= most


class Net(nn.Module):
    """A box head that computes its loss in forward, as a detector does."""

    def __init__(self):
        super().__init__()
        self.head = box_head('SeesawLoss', 'NormedLinear', False, classes=8, reg_class_agnostic=True)

    def forward(self, labels):
        found, _ = losses_of(self.head, torch.randn(len(labels), 3, 2, 2), labels)
        return sum(found.values())


def seesaw_rank(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    stream = torch.Generator().manual_seed(rank)
    share = torch.tensor([0.3, 0.1, 0.03, 0.01, 0.003, 0.002, 0.001, 0.001, 0.553])
    batches = [share.multinomial(32, True, generator=stream) for _ in range(20)]
    counts = {}
    for broadcast in (False, True):
        net = Net()
        model = nn.parallel.DistributedDataParallel(net, broadcast_buffers=broadcast)
        for labels in batches:
            model(labels).backward()
        counts[broadcast] = net.head.loss_cls.cum_samples
    own = torch.stack([torch.bincount(labels, minlength=9) for labels in batches]).float()
    torch.save((counts, own), os.path.join(folder, f'{rank}.pth'))


def test_seesaw_counts_are_those_of_one_rank(tmp_path):
    """The host never sums them: with mmengine's broadcast_buffers=False each rank weighs by its own counts."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    run_ranks(seesaw_rank, port, str(tmp_path))
    (counts0, own0), (counts1, own1) = (torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in (0, 1))
    assert torch.equal(counts0[False], own0.sum(0)) and torch.equal(counts1[False], own1.sum(0))
    # broadcast: rank 0's history for all, and what a rank saw in the last batch; the other ranks' history is lost
    assert torch.equal(counts0[True], own0.sum(0))
    assert torch.equal(counts1[True], own0[:-1].sum(0) + own1[-1])
    assert not torch.equal(own0.sum(0), own1.sum(0))
