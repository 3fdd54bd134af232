"""Box heads that cut candidates, against the host's head with its own NMS class by class, where no offset is added."""
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from nbn_mm.utils.hosts import host_error

if host_error('mmdet') is not None:
    pytest.skip('mmdet does not import', allow_module_level=True)
from mmdet.models.layers import multiclass_nms  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402

CLASSES = 40
META = dict(img_shape=(200, 300), scale_factor=(2., 1.5), ori_shape=(133, 150), img_path='a.jpg')
LOSSES = {
    'CrossEntropyLoss': CLASSES + 1, 'BoxBalancedSoftmaxLoss': CLASSES + 1, 'EqualizationLoss': CLASSES,
    'EqualizationV2Loss': CLASSES + 1, 'SeesawLoss': CLASSES + 2, 'FastSeesawLoss': CLASSES + 2}


def head(kind='Shared2FCBBoxHead', loss='CrossEntropyLoss', **kwargs):
    options = dict(type=loss)
    if 'Softmax' not in loss and 'Cross' not in loss:
        options['num_classes'] = CLASSES
    sizes = dict(in_channels=3, roi_feat_size=2) if kind.endswith('BBoxHead') else {}
    if 'Shared' in kind:
        sizes.update(fc_out_channels=8)
    if 'Conv1' in kind:
        sizes.update(conv_out_channels=4)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        built = MODELS.build(dict(type=kind, num_classes=CLASSES, loss_cls=options, **sizes, **kwargs))
    built.init_weights()
    return built.eval()


def rcnn(score_thr=0.01, max_per_img=30, **nms):
    nms = dict(dict(type='nms', iou_threshold=0.5), **nms)
    return ConfigDict(score_thr=score_thr, max_per_img=max_per_img, nms=nms)


def inputs(outputs, agnostic, rows=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(rows, 2, generator=generator) * torch.tensor([250., 150])
    rois = torch.cat([torch.zeros(rows, 1), corner, corner + 10 + 60 * torch.rand(rows, 2, generator=generator)], 1)
    deltas = torch.randn(rows, 4 * (1 if agnostic else CLASSES), generator=generator) * 0.5
    return rois, torch.randn(rows, outputs, generator=generator) * 2, deltas


def per_class(host, rois, logits, deltas, rescale, cfg, meta=META):
    """The host's decoding of everything, and its NMS of one class after the other: class 0 has the offset 0."""
    raw = host._predict_by_feat_single(rois, logits, deltas, meta, rescale, None)
    found = []
    for label in range(CLASSES):
        boxes = raw.bboxes if raw.bboxes.size(1) == 4 else raw.bboxes[:, 4 * label:4 * label + 4]
        dets, _ = multiclass_nms(boxes, raw.scores[:, [label, -1]], cfg.score_thr, cfg.nms, -1)
        found.append(torch.cat([dets, torch.full((len(dets), 1), label)], 1))
    found = torch.cat(found)
    return found[found[:, 4].argsort(descending=True, stable=True)][:cfg.max_per_img]


def as_rows(result):
    return torch.cat([result.bboxes, result.scores[:, None], result.labels[:, None]], 1)


def assert_equal(ours, host, given, rescale=True, cfg=None, meta=META):
    cfg = cfg or rcnn()
    found = as_rows(ours._predict_by_feat_single(*given, meta, rescale, cfg))
    wanted = per_class(host, *given, rescale, cfg, meta)
    assert torch.equal(found, wanted)
    return found


@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('agnostic', [True, False])
@pytest.mark.parametrize('rescale', [True, False])
def test_equals_the_host_class_by_class(loss, agnostic, rescale):
    ours, host = (head(f'{kind}Shared2FCBBoxHead', loss, reg_class_agnostic=agnostic) for kind in ('Fast', ''))
    found = assert_equal(ours, host, inputs(LOSSES[loss], agnostic), rescale)
    assert 0 < len(found) <= 30 and found[:, 5].unique().numel() > 5


@pytest.mark.parametrize('kind, options', [
    ('BBoxHead', dict(with_avg_pool=True)), ('ConvFCBBoxHead', dict(num_shared_fcs=1, fc_out_channels=8)),
    ('Shared2FCBBoxHead', {}), ('Shared4Conv1FCBBoxHead', {})])
def test_every_head(kind, options):
    ours, host = head(f'Fast{kind}', **options), head(kind, **options)
    assert list(ours.state_dict()) == list(host.state_dict())
    ours.load_state_dict(host.state_dict())
    features = torch.randn(60, 3, 2, 2)
    with torch.no_grad():
        scores, deltas = host(features)
        assert torch.equal(ours(features)[0], scores)
    assert_equal(ours, host, (inputs(CLASSES + 1, False)[0], scores * 100, deltas))


@pytest.mark.parametrize('cfg', [
    rcnn(score_thr=0.3), rcnn(score_thr=2.), rcnn(max_per_img=1), rcnn(max_per_img=2000), rcnn(max_per_img=-1),
    rcnn(iou_threshold=0.2), rcnn(split_thr=10)])
def test_test_cfg(cfg):
    ours, host = head('FastShared2FCBBoxHead'), head()
    given = inputs(CLASSES + 1, False)
    if cfg.max_per_img == -1:
        found = as_rows(ours._predict_by_feat_single(*given, META, True, cfg))
        wanted = per_class(host, *given, True, ConfigDict(cfg, max_per_img=10**6))
        assert torch.equal(found, wanted) and len(found) > 300
    else:
        assert_equal(ours, host, given, cfg=cfg)


@pytest.mark.parametrize('seed', range(5))
def test_random_cases(seed):
    agnostic = bool(seed % 2)
    ours, host = (head(f'{kind}Shared2FCBBoxHead', reg_class_agnostic=agnostic) for kind in ('Fast', ''))
    assert_equal(ours, host, inputs(CLASSES + 1, agnostic, rows=400, seed=seed), cfg=rcnn(1e-4, 300))


@pytest.mark.parametrize('agnostic', [True, False])
@pytest.mark.parametrize('rescale', [True, False])
def test_box_types(agnostic, rescale):
    """Box coders that give box types."""
    coder = dict(type='DeltaXYWHBBoxCoder', use_box_type=True)
    ours, host = (head(f'{kind}Shared2FCBBoxHead', reg_class_agnostic=agnostic, bbox_coder=coder)
                  for kind in ('Fast', ''))
    assert_equal(ours, host, inputs(CLASSES + 1, agnostic), rescale)


def test_other_box_coders(monkeypatch):
    from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
    monkeypatch.setattr(DeltaXYWHBBoxCoder, 'encode_size', 5)  # as rotated boxes have
    with pytest.raises(ValueError, match=r'FastShared2FCBBoxHead: bbox_coder=DeltaXYWHBBoxCoder has 5 numbers a box'):
        head('FastShared2FCBBoxHead')


def test_without_regression():
    ours, host = (head(f'{kind}BBoxHead', with_reg=False) for kind in ('Fast', ''))
    rois, logits, _ = inputs(CLASSES + 1, True)
    assert_equal(ours, host, (rois, logits, None))


def test_without_proposals_and_raw_results():
    ours, host = head('FastShared2FCBBoxHead'), head()
    rois, logits, deltas = inputs(CLASSES + 1, False)
    none = ours._predict_by_feat_single(rois[:0], logits[:0], deltas[:0], META, True, rcnn())
    assert none.bboxes.shape == (0, 4) and none.labels.dtype == torch.long and len(none.scores) == 0
    raw, wanted = (each._predict_by_feat_single(rois, logits, deltas, META, True, None) for each in (ours, host))
    assert torch.equal(raw.bboxes, wanted.bboxes) and torch.equal(raw.scores, wanted.scores)


def test_all_detections_of_one_class():
    ours, host = head('FastShared2FCBBoxHead'), head()
    rois, logits, deltas = inputs(CLASSES + 1, False)
    logits[:, [c for c in range(CLASSES) if c != 7]] -= 30
    found = assert_equal(ours, host, (rois, logits, deltas))
    assert (found[:, 5] == 7).all() and len(found) > 5


def test_half_precision():
    ours, host = (head(f'{kind}Shared2FCBBoxHead', reg_class_agnostic=True) for kind in ('Fast', ''))
    rois, logits, deltas = inputs(CLASSES + 1, True, rows=10)
    found = ours._predict_by_feat_single(rois, logits.half(), deltas, META, True, rcnn(0.05))
    wanted = host._predict_by_feat_single(rois, logits.half(), deltas, META, True, rcnn(0.05))
    assert sorted(found.labels.tolist()) == sorted(wanted.labels.tolist()) and found.scores.dtype == torch.float16


def test_nan_scores_name_the_image():
    ours = head('FastShared2FCBBoxHead')
    rois, logits, deltas = inputs(CLASSES + 1, False)
    logits[3] = float('nan')
    with pytest.raises(ValueError, match=r"FastShared2FCBBoxHead, image 'a.jpg': 1 of 60 proposals .* NaN"):
        ours._predict_by_feat_single(rois, logits, deltas, META, True, rcnn())


def test_export(monkeypatch):
    monkeypatch.setattr(torch.onnx, 'is_in_onnx_export', lambda: True)
    with pytest.raises(RuntimeError, match=r"FastShared2FCBBoxHead decides .* bbox_head.type without 'Fast'"):
        head('FastShared2FCBBoxHead')._predict_by_feat_single(*inputs(CLASSES + 1, False), META, True, rcnn())


def test_another_kind_of_nms():
    ours = head('FastShared2FCBBoxHead')
    with pytest.raises(ValueError, match=r"model.test_cfg.rcnn.nms.type='soft_nms'"):
        ours._predict_by_feat_single(*inputs(CLASSES + 1, False), META, True, rcnn(type='soft_nms'))
