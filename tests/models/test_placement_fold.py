"""Folded networks equal the trained ones, load where they should, and say where they cannot."""
import pytest
import torch
from folding import build, classifier_config, disturb, image
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from nbn_mm.models.layers import NBN, AllReduceBN, LogitRectification
from nbn_mm.models.placement import fold, fold_classifier, fold_model_config


@pytest.mark.parametrize('nbn', [
    dict(), dict(placement='C', share='none'), dict(share='block', separate_bias_magnitude=True),
    dict(init_magnitude='pretrained'), dict(zero_bias='smooth'), dict(zero_bias='random', placement='A'),
    dict(sync=True)], ids=str)
def test_norms_fold_bit_equal(nbn):
    model = build(classifier_config(nbn))
    folded, report = fold(model)
    x = image()
    with torch.no_grad():
        assert torch.equal(model.extract_feat(x)[0], folded.extract_feat(x)[0])
    assert report.norms and not report.remaining
    assert not [m for m in folded.modules() if isinstance(m, (NBN, AllReduceBN, LogitRectification))]
    assert not [k for k in folded.state_dict() if 'magnitude' in k or 'gain' in k or 'rectification' in k]
    assert any(isinstance(m, NBN) for m in model.modules()), 'the original must stay as it was'


def test_norms_from_norm_cfg_fold_bit_equal():
    cfg = classifier_config(dict(), norm_cfg=dict(type='NBN', zero_bias='random'))
    cfg['backbone'].pop('nbn')
    cfg['backbone'].update(type=cfg['backbone'].pop('base'))
    model = build(cfg)
    folded, report = fold(model)
    assert len(report.norms) == 20
    with torch.no_grad():
        assert torch.equal(model.extract_feat(image())[0], folded.extract_feat(image())[0])


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_whole_network_within_rounding(dtype, tolerance):
    model = build(classifier_config(dict())).to(dtype)
    folded, report = fold(model)
    assert report.classifiers == ['head.fc']
    x = image().to(dtype)
    with torch.no_grad():
        ours, plain = model(x), folded(x)
    assert ours.dtype == plain.dtype == dtype
    assert (ours - plain).norm() <= tolerance * ours.norm()


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('unrectified', [0, 2])
def test_classifier_against_the_formula(bias, unrectified):
    head = disturb(MODELS.build(dict(type='RectifiedPredictor', base='Linear', in_features=5, out_features=6, bias=bias,
                                     rectification=dict(unrectified=unrectified)))).double()
    x = torch.randn(8, 5, dtype=torch.float64)
    lr = head.logit_rectification
    raw = torch.stack([torch.stack([sum(row[k] * sample[k] for k in range(5)) for row in head.weight]) for sample in x])
    raw = raw + (head.bias if bias else 0)
    expected = raw.clone()
    for c in range(6 - unrectified):
        expected[:, c] = (raw[:, c] - lr.running_mean[c]) / (lr.running_var[c] + lr.eps).sqrt()
    plain = fold_classifier(head)
    assert type(plain) is nn.Linear
    assert torch.allclose(plain(x), expected, rtol=0, atol=1e-12)
    assert torch.allclose(head(x), expected, rtol=0, atol=1e-12)


def test_normalised_classifier_stays_and_is_named():
    pytest.importorskip('mmdet', reason='mmdet is not installed')
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = MODELS.build(dict(type='RectifiedPredictor', base='NormedLinear', in_features=4, out_features=3))
    model = disturb(nn.Sequential(nn.Linear(4, 4), head))
    folded, report = fold(model)
    assert list(report.remaining) == ['1'] and 'NormedLinear' in report.remaining['1']
    assert 'still needs nbn_mm' in str(report)
    x = torch.randn(5, 4)
    assert torch.equal(folded(x), model(x))


def test_own_backbone_is_named():
    cfg = classifier_config(dict())
    cfg['backbone'] = dict(type='NBNBackbone', base='CIFARResNet', depth=8)
    cfg['head']['in_channels'] = 64
    folded, report = fold(build(cfg))
    assert 'backbone' in report.remaining and 'CIFARResNet' in report.remaining['backbone']
    assert not any(name.startswith('head') for name in report.remaining)


def test_nothing_to_fold():
    with pytest.raises(ValueError, match='Sequential holds no NBN'):
        fold(nn.Sequential(nn.Linear(2, 2)))


def test_config_of_the_folded_network():
    cfg = classifier_config(dict(share='block'), norm_cfg=dict(type='NBN', requires_grad=False, zero_bias='random'))
    plain = fold_model_config(cfg)
    assert plain['backbone'] == dict(type='ResNet', depth=18, norm_cfg=dict(type='BN', requires_grad=False))
    assert plain['head'] == dict(
        type='LinearClsHead', num_classes=7, in_channels=512, loss=dict(type='CrossEntropyLoss'))
    scoped = dict(
        backbone=dict(type='mmengine.NBNBackbone', base='mmpretrain.ResNet', depth=18),
        head=dict(type='mmpretrain.LongTailClsHead', predictor=dict(type='mmengine.RectifiedPredictor'), num_classes=7))
    assert fold_model_config(scoped) == dict(
        backbone=dict(type='mmpretrain.ResNet', depth=18),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=7, loss=dict(type='CrossEntropyLoss')))
    normed = dict(type='RectifiedPredictor', base='NormedLinear', rectification=dict(unrectified=2))
    assert fold_model_config(normed) == normed
    assert cfg['backbone']['type'] == 'NBNBackbone', 'the input must stay as it was'


def test_fast_losses_become_those_of_the_hosts():
    loss = dict(type='FastSeesawLoss', num_classes=7, p=0.5, sync_counts=True)
    heads = dict(roi_head=dict(bbox_head=[dict(type='Shared2FCBBoxHead', loss_cls=loss)]))
    assert fold_model_config(heads)['roi_head']['bbox_head'][0]['loss_cls'] == dict(
        type='mmdet.SeesawLoss', num_classes=7, p=0.5)
    assert fold_model_config(dict(type='mmengine.FastSeesawClsLoss')) == dict(type='mmpretrain.SeesawLoss')


@pytest.mark.parametrize('loss', ['SeesawLoss', 'FastSeesawClsLoss'])
def test_counts_of_seesaw_stay_in_the_stock_network(loss):
    cfg = classifier_config(dict())
    cfg['head']['loss'] = dict(type=loss, num_classes=7)
    model = build(cfg)
    model.head.loss_module.cum_samples.fill_(3)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        stock = MODELS.build(fold_model_config(cfg)).eval()
    stock.load_state_dict(fold(model)[0].state_dict(), strict=True)
    assert type(stock.head.loss_module).__module__.startswith('mmpretrain.')
    assert stock.head.loss_module.cum_samples.tolist() == [3] * 7


@pytest.mark.parametrize('loss, needed', [
    ('FastSeesawLoss', []), ('CrossEntropyLoss', []), ('EqualizationLoss', ['roi_head.bbox_head.loss_cls']),
    ('EqualizationV2Loss', ['roi_head.bbox_head.loss_cls'])])
def test_losses_that_the_folded_config_keeps_are_named(loss, needed):
    """The host's box heads build their loss at test, too."""
    pytest.importorskip('mmdet', reason='mmdet is not installed')
    from detectors import detector
    cfg = detector(dict(), loss=loss)
    if loss == 'CrossEntropyLoss':
        cfg['roi_head']['bbox_head']['loss_cls'].pop('num_classes')
    folded, report = fold(build(ConfigDict(cfg), 'mmdet'))
    assert report.norms and list(report.remaining) == needed
    with DefaultScope.overwrite_default_scope('mmdet'):
        stock = MODELS.build(ConfigDict(fold_model_config(cfg))).eval()
    stock.load_state_dict(folded.state_dict(), strict=True)
    assert [name for name, m in stock.named_modules() if type(m).__module__.startswith('nbn_mm')] == needed


@pytest.mark.parametrize('head, needed', [('LongTailClsHead', []), ('LinearClsHead', ['head.loss_module'])])
def test_parts_that_the_folded_config_replaces_are_not_named(head, needed):
    """The preprocessor of batches of labels, and the loss of a long-tail head; not that of the host's head."""
    cfg = classifier_config(dict(), predictor=dict(type='Linear'))
    cfg['head']['type'] = head
    if head == 'LinearClsHead':
        cfg['head'].pop('predictor')
    cfg['data_preprocessor'] = dict(type='BatchClsDataPreprocessor', mean=[1.0] * 3, std=[2.0] * 3)
    folded, report = fold(build(cfg))
    assert list(report.remaining) == needed
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        stock = MODELS.build(fold_model_config(cfg)).eval()
    stock.load_state_dict(folded.state_dict(), strict=True)
    assert [name for name, m in stock.named_modules() if type(m).__module__.startswith('nbn_mm')] == needed


@pytest.mark.parametrize('kind', ['RectifiedPredictor', 'Linear'])
def test_classifier_without_bias(kind):
    """Rectification brings a bias along; without it the head stays, because the host's linear head always has one."""
    cfg = classifier_config(dict(), predictor=dict(type=kind, bias=False))
    model = build(cfg)
    folded, report = fold(model)
    plain = fold_model_config(cfg)
    assert plain['head']['type'] == ('LinearClsHead' if kind == 'RectifiedPredictor' else 'LongTailClsHead')
    assert list(report.remaining) == ([] if kind == 'RectifiedPredictor' else ['head'])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        stock = MODELS.build(plain).eval()
    stock.load_state_dict(folded.state_dict(), strict=True)
    torch.testing.assert_close(stock(image()), folded(image()), rtol=0, atol=0)
    with torch.no_grad():
        ours, folded_logits = (m.head(m.extract_feat(image())) for m in (model, folded))
    torch.testing.assert_close(folded_logits, ours, rtol=1e-4, atol=1e-4)
    assert fold_model_config(dict(type='RectifiedPredictor', bias=False)) == dict(type='Linear')


def test_detector_folds_into_the_stock_detector():
    """Backbone with NBN and a rectified box classifier: the folded state dict fits mmdet's own detector strictly."""
    pytest.importorskip('mmdet', reason='mmdet is not installed')
    cfg = dict(
        type='FasterRCNN',
        backbone=dict(type='NBNBackbone', base='ResNet', depth=18, norm_eval=True,
                      nbn=dict(init_magnitude='pretrained')),
        neck=dict(type='FPN', in_channels=[64, 128, 256, 512], out_channels=16, num_outs=5),
        rpn_head=dict(
            type='RPNHead', in_channels=16, feat_channels=16,
            anchor_generator=dict(type='AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0],
                                  strides=[4, 8, 16, 32, 64]),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder')),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=dict(type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=7),
                                    out_channels=16, featmap_strides=[4, 8, 16, 32]),
            bbox_head=dict(
                type='Shared2FCBBoxHead', in_channels=16, fc_out_channels=32, num_classes=5, roi_feat_size=7,
                cls_predictor_cfg=dict(type='RectifiedPredictor', base='Linear'),
                bbox_coder=dict(type='DeltaXYWHBBoxCoder'))),
        train_cfg=None,
        test_cfg=dict(rpn=dict(nms_pre=20, max_per_img=10, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0),
                      rcnn=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=10)))
    model = build(ConfigDict(cfg), 'mmdet')
    folded, report = fold(model)
    assert report.classifiers == ['roi_head.bbox_head.fc_cls'] and len(report.norms) == 3 and not report.remaining
    with DefaultScope.overwrite_default_scope('mmdet'):
        stock = MODELS.build(ConfigDict(fold_model_config(cfg)))
    stock.eval()
    stock.load_state_dict(folded.state_dict(), strict=True)
    assert not [m for m in stock.modules() if type(m).__module__.startswith('nbn_mm')]
    x, rois = image(1), torch.randn(6, 16, 7, 7)
    with torch.no_grad():
        for ours, plain in zip(model.extract_feat(x), stock.extract_feat(x), strict=True):
            assert torch.equal(ours, plain)
        for ours, plain in zip(model.roi_head.bbox_head(rois), stock.roi_head.bbox_head(rois), strict=True):
            assert torch.allclose(ours, plain, rtol=1e-4, atol=1e-5)


def test_norms_on_rows_fold_too():
    """mmpretrain's stacked head has its norm layers behind linear ones; the config names the norm of rows."""
    cfg = classifier_config(dict())
    cfg['head'] = dict(type='StackedLinearClsHead', num_classes=7, in_channels=512, mid_channels=[6],
                       norm_cfg=dict(type='NBN', zero_bias='random'))
    model = build(cfg)
    folded, _ = fold(model)
    with torch.no_grad():
        assert torch.equal(model(image()), folded(image()))
    plain = fold_model_config(cfg)
    assert plain['head']['norm_cfg'] == dict(type='BN1d')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        stock = MODELS.build(plain).eval()
    stock.load_state_dict(folded.state_dict())
    with torch.no_grad():
        assert torch.equal(stock(image()), folded(image()))
