"""Mask heads that compute the predicted class alone, and whole detectors with the fast heads, against the host's."""
import copy

import numpy as np
import pytest
import torch
from detectors import batch, build, detector
from mmengine.config import ConfigDict
from pycocotools import mask as mask_utils

from nbn_mm.models.layers.box_masks import BoxMasks
from nbn_mm.models.layers.predicted_class_conv import one_output_each
from nbn_mm.models.placement.fold_config import fold_model_config
from nbn_mm.utils.hosts import host_error

if host_error('mmdet') is not None:
    pytest.skip('mmdet does not import', allow_module_level=True)

CLASSES = 9
META = dict(ori_shape=(60, 80), scale_factor=(1.5, 2.))


def mask_head(kind='FCNMaskHead', **kwargs):
    torch.manual_seed(0)
    sizes = dict(num_convs=1, in_channels=4, conv_out_channels=8, num_classes=CLASSES)
    head = build(dict(sizes, type=kind, **kwargs))
    torch.nn.init.normal_(head.conv_logits.weight)
    torch.nn.init.normal_(head.conv_logits.bias)
    return head.eval()


PREDICTORS = [dict(type='Conv'), dict(type='NormedConv2d', temperature=20),
              dict(type='NormedConv2d', norm_over_kernel=True, power=2.0), dict(type='Conv', bias=False)]


@pytest.mark.parametrize('predictor', PREDICTORS[:3])
@pytest.mark.parametrize('upsample', ['deconv', 'bilinear', None])
def test_logits_of_the_predicted_class(predictor, upsample):
    kwargs = dict(predictor_cfg=predictor, upsample_cfg=dict(type=upsample, scale_factor=2) if upsample
                  else dict(type=None))
    ours, host = mask_head('FastFCNMaskHead', **kwargs), mask_head(**kwargs)
    assert list(ours.state_dict()) == list(host.state_dict())
    x, labels = torch.randn(7, 4, 6, 6), torch.tensor([0, 8, 3, 3, 1, 8, 5])
    with torch.no_grad():
        wanted = host(x)
        assert torch.equal(ours(x), wanted), 'training and other RoI heads see all classes'
        with ours.predicting(labels):
            found = ours(x)
        assert torch.equal(ours(x), wanted) and '_conv_forward' not in vars(ours.conv_logits)
    assert found.shape == (7, 1, *wanted.shape[2:])
    torch.testing.assert_close(found[:, 0], wanted[range(7), labels], rtol=1e-5, atol=1e-5)


def test_without_a_bias_and_without_samples():
    conv = torch.nn.Conv2d(4, CLASSES, 1, bias=False)
    x, labels = torch.randn(3, 4, 5, 5), torch.tensor([8, 0, 2])
    with one_output_each(conv, labels):
        found = conv(x)
    torch.testing.assert_close(found[:, 0], conv(x)[range(3), labels])
    with one_output_each(conv, labels[:0]):
        assert conv(x[:0]).shape == (0, 1, 5, 5)
    with pytest.raises(ValueError, match='3 samples, but 2 labels'), one_output_each(conv, labels[:2]):
        conv(x)
    assert conv(x).shape == (3, CLASSES, 5, 5)


def test_class_agnostic():
    ours, host = (mask_head(kind, class_agnostic=True) for kind in ('FastFCNMaskHead', 'FCNMaskHead'))
    x = torch.randn(3, 4, 6, 6)
    with torch.no_grad(), ours.predicting(torch.tensor([2, 8, 0])):
        assert torch.equal(ours(x), host(x))


def test_other_predictors():
    with pytest.raises(ValueError, match=r'mask_head.predictor_cfg: .* but this is ModulatedDeformConv2dPack'):
        mask_head('FastFCNMaskHead', predictor_cfg=dict(type='DCNv2'))


def detections(number=20):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(number, 2, generator=generator) * torch.tensor([100., 90])
    boxes = torch.cat([corner, corner + torch.rand(number, 2, generator=generator) * torch.tensor([60., 50])], 1)
    boxes = torch.minimum(boxes, torch.tensor([120., 120, 120, 120]))
    logits = torch.nn.functional.interpolate(torch.randn(number, CLASSES, 3, 3, generator=generator), size=28,
                                             mode='bilinear')
    return boxes, torch.randint(CLASSES, (number, ), generator=generator), logits


@pytest.mark.parametrize('rescale', [True, False])
@pytest.mark.parametrize('activate', [True, False])
@pytest.mark.parametrize('agnostic', [True, False])
def test_masks_equal_those_of_the_host(rescale, activate, agnostic):
    ours, host = (mask_head(kind, class_agnostic=agnostic) for kind in ('FastFCNMaskHead', 'FCNMaskHead'))
    boxes, labels, logits = detections()
    logits = logits[:, :1] if agnostic else logits
    logits = logits.sigmoid() if activate else logits
    picked = logits if agnostic else logits[range(20), labels][:, None]
    given = boxes.clone()
    wanted = host._predict_by_feat_single(logits, given, labels, META, ConfigDict(mask_thr_binary=0.5), rescale,
                                          activate)
    for kind in ('bitmap', 'box', 'rle'):
        mine, cfg = boxes.clone(), ConfigDict(mask_thr_binary=0.5, mask_format=kind)
        found = ours._predict_by_feat_single(picked, mine, labels, META, cfg, rescale, activate)
        assert torch.equal(mine, given), 'boxes are rescaled in place, as the host does'
        if kind == 'bitmap':
            assert torch.equal(found, wanted)
        elif kind == 'box':
            assert isinstance(found, BoxMasks) and np.array_equal(found.numpy(), wanted.numpy())
        else:
            assert found == mask_utils.encode(np.asfortranarray(wanted.numpy().transpose(1, 2, 0).astype(np.uint8)))


@pytest.mark.parametrize('cfg, message', [
    (dict(mask_thr_binary=0.5, mask_format='polygon'), r"mask_format='polygon' must be one of"),
    (dict(mask_thr_binary=-1, mask_format='box'), r'mask_thr_binary=-1 must be in \(0, 1\]'),
    (dict(mask_thr_binary=0, mask_format='rle'), r'mask_thr_binary=0 must be in \(0, 1\]')])
def test_wrong_test_cfg(cfg, message):
    boxes, labels, logits = detections()
    with pytest.raises(ValueError, match=message):
        mask_head('FastFCNMaskHead')._predict_by_feat_single(logits, boxes, labels, META, ConfigDict(cfg), True)
    model = detector()
    model['test_cfg']['rcnn'].update(cfg)
    with pytest.raises(ValueError, match=message):
        build(model)


def test_grey_values_are_left_to_the_host():
    boxes, labels, logits = detections()
    cfg = ConfigDict(mask_thr_binary=-1)
    found, wanted = (mask_head(kind)._predict_by_feat_single(logits, boxes.clone(), labels, META, cfg, True)
                     for kind in ('FastFCNMaskHead', 'FCNMaskHead'))
    assert found.dtype == torch.uint8 and torch.equal(found, wanted)


def cascade(**kwargs):
    cfg = detector(**kwargs)
    roi = cfg['roi_head']
    boxes = [dict(roi['bbox_head'], bbox_coder=dict(
        type='DeltaXYWHBBoxCoder', target_means=[0.] * 4, target_stds=[s, s, 2 * s, 2 * s])) for s in (.1, .05, .033)]
    roi.update(type='FastCascadeRoIHead', num_stages=3, stage_loss_weights=[1, .5, .25], bbox_head=boxes)
    cfg['train_cfg']['rcnn'] = [cfg['train_cfg']['rcnn']] * 3
    cfg['type'] = 'CascadeRCNN'
    return cfg


def per_class(cfg):
    """As in LVIS: each class has a mask and a box of its own."""
    for part in ([cfg['roi_head']['bbox_head']] if isinstance(cfg['roi_head']['bbox_head'], dict) else []):
        part['reg_class_agnostic'] = False
    cfg['roi_head']['mask_head']['class_agnostic'] = False
    return cfg


def pair(cfg):
    """The detector with the fast heads and the host's, of one state."""
    cfg['test_cfg']['rcnn'].update(score_thr=0.01, mask_format='bitmap')
    torch.manual_seed(0)
    ours = build(cfg).eval()
    host_cfg = fold_model_config(cfg)
    assert 'Fast' not in str(host_cfg) and 'mask_format' not in str(host_cfg)
    host = build(host_cfg).eval()
    for head in ours.roi_head.mask_head if isinstance(ours.roi_head.mask_head, torch.nn.ModuleList) else \
            [ours.roi_head.mask_head]:
        torch.nn.init.normal_(head.conv_logits.weight)
    heads = ours.roi_head.bbox_head
    for head in heads if isinstance(heads, torch.nn.ModuleList) else [heads]:
        torch.nn.init.normal_(head.fc_cls.weight)
    assert not host.load_state_dict(ours.state_dict(), strict=True).missing_keys
    return ours, host


def predict(model):
    data = batch(model, 2, training=False)
    with torch.no_grad():
        return [sample.pred_instances for sample in model.predict(data['inputs'], copy.deepcopy(data['data_samples']))]


@pytest.mark.parametrize('cfg', [detector, cascade])
@pytest.mark.parametrize('specific', [True, False])
def test_detectors_predict_what_the_hosts_do(cfg, specific):
    ours, host = pair(per_class(cfg()) if specific else cfg())
    calls = []
    heads = ours.roi_head.mask_head
    for head in heads if isinstance(heads, torch.nn.ModuleList) else [heads]:
        head.register_forward_hook(lambda _, __, logits: calls.append(tuple(logits.shape[:2])))
    wanted = predict(host)
    for kind in ('bitmap', 'box', 'rle'):
        ours.roi_head.test_cfg.mask_format = kind
        found = predict(ours)
        assert calls == [(16, 1)] * (3 if cfg is cascade else 1), 'logits of one class for 2 x 8 detections'
        calls.clear()
        for mine, theirs in zip(found, wanted, strict=True):
            assert len(mine) == len(theirs) == 8
            for key in ('scores', 'labels', 'bboxes'):
                assert torch.equal(mine[key], theirs[key])
            masks = mask_utils.decode(mine.masks).transpose(2, 0, 1).astype(bool) if kind == 'rle' else \
                mine.masks.numpy()
            differing = masks != theirs.masks.numpy()
            assert differing.mean() < 1e-4 and theirs.masks.any(), 'only pixels within rounding of the threshold'


@pytest.mark.parametrize('cfg', [detector, cascade])
def test_detectors_train_as_the_hosts_do(cfg):
    ours, host = pair(per_class(cfg(loss='SeesawLoss')))
    losses = []
    for model in (ours, host):
        model.train()
        data = batch(model, 2)
        torch.manual_seed(1)
        np.random.seed(1)
        found = model.loss(data['inputs'], data['data_samples'])
        total, _ = model.parse_losses(found)
        total.backward()
        losses.append((total, [p.grad for p in model.parameters() if p.grad is not None]))
    assert torch.equal(losses[0][0], losses[1][0]) and len(losses[0][1]) == len(losses[1][1]) > 20
    assert all(torch.equal(a, b) for a, b in zip(*(grads for _, grads in losses), strict=True))


@pytest.mark.parametrize('cfg', [detector, cascade])
def test_images_without_detections(cfg):
    model, _ = pair(per_class(cfg()))
    for kind in ('bitmap', 'box', 'rle'):
        model.roi_head.test_cfg.update(mask_format=kind, score_thr=2.)
        for instances in predict(model):
            assert len(instances) == 0 and len(instances.masks) == 0
        model.roi_head.test_cfg.score_thr = 0.01
        assert all(len(instances) == len(instances.masks) == 8 for instances in predict(model))


def test_boxes_only():
    cfg = detector()
    cfg['type'] = 'FasterRCNN'
    cfg['roi_head'].update(mask_head=None, mask_roi_extractor=None)
    ours, host = build(cfg).eval(), build(fold_model_config(cfg)).eval()
    host.load_state_dict(ours.state_dict())
    for mine, theirs in zip(predict(ours), predict(host), strict=True):
        assert torch.equal(mine.bboxes, theirs.bboxes) and 'masks' not in mine


def test_wrong_heads_are_told_when_the_model_is_built():
    cfg = detector()
    cfg['roi_head']['mask_head']['type'] = 'FCNMaskHead'
    with pytest.raises(ValueError, match=r"FastStandardRoIHead: mask_head.type='FCNMaskHead' takes no classes"):
        build(cfg)
    cfg = detector()
    cfg['test_cfg']['rcnn']['nms'] = dict(type='soft_nms', iou_threshold=0.5)
    with pytest.raises(ValueError, match=r"model.test_cfg.rcnn.nms.type='soft_nms'.*host's own box head"):
        build(cfg)
    cfg['roi_head']['bbox_head']['type'] = 'Shared2FCBBoxHead'  # the way that the error names
    assert len(predict(build(cfg).eval())) == 2


def test_another_roi_head_is_right_and_warned_of(caplog):
    cfg = per_class(detector())
    cfg['roi_head']['type'] = 'StandardRoIHead'
    ours, host = pair(cfg)
    warnings = []
    import nbn_mm.models.roi_heads.fast_mask_head as module
    original, module.print_log = module.print_log, lambda text, **_: warnings.append(text)
    try:
        for _ in range(2):
            for mine, theirs in zip(predict(ours), predict(host), strict=True):
                assert torch.equal(mine.masks, theirs.masks)
    finally:
        module.print_log = original
    assert len(warnings) == 1 and "Set model.roi_head.type='FastStandardRoIHead'" in warnings[0]


def test_copies_and_pickles():
    """EMA and DDP copy the model; nothing of a prediction stays in it."""
    model, _ = pair(per_class(detector()))
    before = predict(model)
    again = predict(copy.deepcopy(model))
    assert torch.equal(before[0].masks, again[0].masks)
    assert model.roi_head.mask_head._labels is None
