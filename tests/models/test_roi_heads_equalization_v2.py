"""EQLv2 against loops in float64, and what a box head of mmdet makes of it."""
import copy
import os
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from process_server import run_ranks
from references.equalization import eqlv2, sigmoid

from nbn_mm.utils.hosts import host_error

if host_error('mmdet') is not None:
    pytest.skip('mmdet does not import', allow_module_level=True)
from mmdet.registry import MODELS  # noqa: E402

TEST_CFG = ConfigDict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=5)


def loss_module(num_classes=4, **kwargs):
    return MODELS.build(dict(type='EqualizationV2Loss', num_classes=num_classes, **kwargs))


def batches(steps=4, rows=6, seed=0, classes=4):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        logits = torch.randn(rows, classes + 1, generator=generator) * 2
        yield logits, torch.randint(classes + 1, (rows, ), generator=generator), torch.rand(rows, generator=generator)


def reference(data, shift=0.0, weighted=True, classes=4):
    return eqlv2([((z.double() + shift).tolist(), y.tolist(), (w if weighted else torch.ones_like(w)).tolist())
                  for z, y, w in data], classes)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('prior_prob', [None, 0.01])
def test_losses_of_a_run(weighted, prior_prob):
    """Values depend on the statistics of all steps before."""
    loss, data = loss_module(prior_prob=prior_prob), list(batches())
    values = [loss(z, y, w if weighted else None).item() for z, y, w in data]
    shift = 0.0 if prior_prob is None else float(np.log(0.01 / 0.99))
    np.testing.assert_allclose(values, reference(data, shift, weighted), rtol=1e-5)


def test_equals_the_host_without_weights():
    from mmdet.models.losses import EQLV2Loss
    ours, host = loss_module(loss_weight=0.5), EQLV2Loss(num_classes=4, loss_weight=0.5)
    for z, y, w in batches():
        torch.testing.assert_close(ours(z, y, torch.ones_like(w), avg_factor=6.0), host(z, y), rtol=1e-6, atol=0)
    for name, buffer in host.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], buffer)


def test_avg_factor_and_loss_weight():
    z, y, w = next(batches())
    plain = loss_module()(z, y, w)
    torch.testing.assert_close(loss_module(loss_weight=3.0)(z, y, w, avg_factor=4.0), 3 * plain * 6 / 4)


def box_head(loss, num_classes=2, **kwargs):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(dict(
            type='Shared2FCBBoxHead', in_channels=3, fc_out_channels=8, roi_feat_size=2, num_classes=num_classes,
            reg_class_agnostic=True, loss_cls=loss, **kwargs))


@pytest.mark.parametrize('kind, test_with_obj, expected', [
    ('EqualizationV2Loss', True, lambda z: sigmoid(z[0]) * (1 - sigmoid(z[2]))),
    ('EqualizationV2Loss', False, lambda z: sigmoid(z[0])),
    ('EqualizationLoss', None, lambda z: sigmoid(z[0])),
])
def test_scores_of_a_box_head(kind, test_with_obj, expected):
    """0.64 = 0.8 * (1 - 0.2), where the host's softmax gives 0.92."""
    options = {} if test_with_obj is None else dict(test_with_obj=test_with_obj)
    head = box_head(dict(type=kind, num_classes=2, **options))
    logits = torch.logit(torch.tensor([[0.8, 0.1, 0.2]]))[:, :head.fc_cls.out_features]
    result, = head.predict_by_feat((torch.tensor([[0., 1, 1, 9, 9]]), ), (logits, ), (torch.zeros(1, 4), ),
                                   [dict(img_shape=(20, 20), scale_factor=(1.0, 1.0))],
                                   rcnn_test_cfg=TEST_CFG)
    assert result.labels.tolist() == [0, 1]
    assert result.scores[0].item() == pytest.approx(expected(logits[0].tolist() + [0.0]), rel=1e-6)


def test_the_host_alone_infers_by_softmax():
    head = box_head(dict(type='EQLV2Loss', num_classes=2))
    logits = torch.logit(torch.tensor([[0.8, 0.1, 0.2]]))
    result, = head.predict_by_feat((torch.tensor([[0., 1, 1, 9, 9]]), ), (logits, ), (torch.zeros(1, 4), ),
                                   [dict(img_shape=(20, 20), scale_factor=(1.0, 1.0))], rcnn_test_cfg=TEST_CFG)
    assert result.scores[0].item() == pytest.approx(logits.softmax(1)[0, 0].item()), 'if it fails, mmdet was mended'


def test_no_proposals():
    loss = loss_module()
    z = torch.zeros(0, 5, requires_grad=True)
    value = loss(z, torch.zeros(0, dtype=torch.long), torch.zeros(0), avg_factor=1.0)
    value.backward()
    assert value.item() == 0 and z.grad.shape == (0, 5)
    assert not loss.pos_grad.any() and loss.get_accuracy(z, torch.zeros(0))['acc_classes'] == 0


def test_accuracy():
    z = torch.tensor([[3., 1, 1, 1, -1], [3., 1, 1, 1, 2], [0., 1, 0, 0, 2], [0., 0, 1, 0, -2]])
    accuracy = loss_module().get_accuracy(z, torch.tensor([0, 1, 4, 4]))
    assert accuracy['acc_classes'] == 50 and accuracy['acc_objectness'] == 50


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_float32_inside_also_under_autocast(dtype):
    z, y, w = next(batches())
    loss = loss_module()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(z.to(dtype), y, w)
        scores = loss.get_activation(z.to(dtype))
    assert value.dtype == scores.dtype == loss.pos_grad.dtype == torch.float32
    np.testing.assert_allclose(value.item(), reference([(z.to(dtype), y, w)])[0], rtol=1e-5)


def test_a_model_can_be_copied_after_a_step():
    loss = loss_module()
    z, y, w = next(batches())
    loss(z.requires_grad_(), y, w)
    torch.testing.assert_close(copy.deepcopy(loss).neg_grad, loss.neg_grad)


def test_bad_options_and_input():
    for name, value in (('use_sigmoid', False), ('reduction', 'sum'), ('class_weight', [1.0]), ('vis_grad', True)):
        with pytest.raises(ValueError, match=f'loss_cls.{name}'):
            loss_module(**{name: value})
    with pytest.raises(ValueError, match='bbox_head.num_classes=2, but loss_cls.num_classes=4'):
        box_head(dict(type='EqualizationV2Loss', num_classes=4))
    z, y, w = next(batches())
    with pytest.raises(ValueError, match=r'expects logits \(N, 5\), got \(6, 4\)'):
        loss_module()(z[:, :4], y.clamp(max=3), w)
    with pytest.raises(ValueError, match="reduction_override='none'.*OHEMSampler"):
        loss_module()(z, y, w, reduction_override='none')


def rank_main(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    summed, own = loss_module(), loss_module(use_distributed=False)
    for z, y, w in batches(steps=2, seed=rank, rows=(6, 4)[rank]):
        summed(z, y, w), own(z, y, w)
    empty = torch.zeros(0 if rank else 3, 5)  # all ranks take part in the sum, one without proposals
    summed(empty, torch.zeros(len(empty), dtype=torch.long))
    torch.save((summed.state_dict(), own.state_dict()), os.path.join(folder, f'{rank}.pth'))


def test_statistics_are_summed_over_the_ranks(tmp_path):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    run_ranks(rank_main, port, str(tmp_path))
    (summed0, own0), (summed1, own1) = (torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in (0, 1))
    for name in summed0:
        torch.testing.assert_close(summed0[name], summed1[name], rtol=0, atol=0)
    assert not torch.allclose(own0['pos_grad'], own1['pos_grad'])
