"""Builds every LVIS config and does one forward and backward pass on a CPU."""
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from nbn_mm.datasets.class_counts import ClassCounts
from nbn_mm.models.layers import NBN

ROOT = Path(__file__).resolve().parents[1]
LEAVES = sorted((ROOT / 'configs/lvis').glob('*.py'))
NAME = re.compile(r'(?P<model>mask_rcnn|cascade_mask_rcnn|faster_rcnn)_(?P<backbone>r50|r101|x101)_'
                  r'(?P<norm>bn|nbn|nbn_lr)_(?P<loss>ce|eql|eqlv2|bsl|seesaw)(?P<rfs>_rfs)?(?P<normed_mask>_normed_mask)?_'
                  r'(?P<schedule>[12]x)')
LOSSES = dict(ce='CrossEntropyLoss', eql='EqualizationLoss', eqlv2='EqualizationV2Loss', bsl='BoxBalancedSoftmaxLoss',
              seesaw='FastSeesawLoss')
DETECTORS = dict(mask_rcnn='MaskRCNN', cascade_mask_rcnn='CascadeRCNN', faster_rcnn='FasterRCNN')
PRETRAINED = dict(r50='torchvision://resnet50', r101='torchvision://resnet101', x101='open-mmlab://resnext101_64x4d')
COUNTS = ClassCounts([f'class {i}' for i in range(1203)], [2000 // (i + 1) + (i < 1200) for i in range(1203)],
                     [3000 // (i + 1) + (i < 1200) for i in range(1203)], num_images=9000)

pytest.importorskip('mmdet', reason='the LVIS configs need mmdet')


def build(cfg):
    """The detector with random weights; there is no network, and no need, for ImageNet's."""
    cfg.model.backbone.init_cfg = None
    cfg.model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=20)
    for rcnn in cfg.model.train_cfg.rcnn if isinstance(cfg.model.train_cfg.rcnn, list) else [cfg.model.train_cfg.rcnn]:
        rcnn.sampler.num = 12
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    for module in model.modules():
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts(COUNTS)
    return model


def batch(size=64):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    generator = torch.Generator().manual_seed(0)
    masks = np.zeros((2, size, size), np.uint8)
    masks[0, 4:40, 6:44], masks[1, 30:60, 20:58] = 1, 1
    sample = DetDataSample(
        metainfo=dict(img_shape=(size, size), ori_shape=(size, size), pad_shape=(size, size), scale_factor=(1., 1.)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[6., 4, 44, 40], [20, 30, 58, 60]]), labels=torch.tensor([3, 1202]),
        masks=BitmapMasks(masks, size, size))
    return torch.randn(1, 3, size, size, generator=generator), [sample]


@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_leaf_is_what_its_name_says(path):
    said = NAME.fullmatch(path.stem).groupdict()
    cfg = Config.fromfile(path)
    roi_head, backbone = cfg.model.roi_head, cfg.model.backbone
    heads = roi_head.bbox_head if isinstance(roi_head.bbox_head, list) else [roi_head.bbox_head]
    assert cfg.model.type == DETECTORS[said['model']]
    assert len(heads) == (3 if said['model'] == 'cascade_mask_rcnn' else 1)
    for head in heads:
        assert head.loss_cls.type == LOSSES[said['loss']]
        assert head.num_classes == 1203 and head.loss_cls.get('num_classes', 1203) == 1203
        predictor = head.cls_predictor_cfg
        assert 'NormedLinear' in (predictor.get('base'), predictor.type)
        assert (predictor.type == 'RectifiedPredictor') == (said['norm'] == 'nbn_lr')
        if said['norm'] == 'nbn_lr':  # objectness and background are not rectified
            left = predictor.get('rectification', {}).get('unrectified', 0)
            assert left == dict(seesaw=2, eql=0).get(said['loss'], 1)
        assert head.loss_cls.get('prior_prob') == (0.001 if said['loss'].startswith('eql') else None)
    assert backbone.init_cfg.checkpoint == PRETRAINED[said['backbone']]
    shape = dict(r50=(50, 1), r101=(101, 1), x101=(101, 64))[said['backbone']]
    assert (backbone.depth, backbone.get('groups', 1)) == shape
    assert backbone.frozen_stages == 1 and backbone.get('norm_eval', True)
    assert (backbone.type == 'NBNBackbone') == said['norm'].startswith('nbn')
    dataset = cfg.train_dataloader.dataset
    assert (dataset.type == 'ClassBalancedDataset') == bool(said['rfs'])
    if said['rfs']:
        assert dataset.oversample_thr == 1e-3
        dataset = dataset.dataset
    assert dataset.type == cfg.test_dataloader.dataset.type == 'LVISFormatDataset'
    boxes_only = said['model'] == 'faster_rcnn'
    assert cfg.test_evaluator.type == 'StreamingLVISMetric'
    assert list(cfg.test_evaluator.metric) == (['bbox'] if boxes_only else ['bbox', 'segm'])
    if not boxes_only:
        assert (roi_head.mask_head.get('predictor_cfg', {}).get('type') == 'NormedConv2d') == bool(said['normed_mask'])
        assert roi_head.mask_head.num_classes == 1203 and roi_head.mask_head.type == 'FastFCNMaskHead'
    assert {head.type for head in heads} == {'FastShared2FCBBoxHead'} and cfg.model.test_cfg.rcnn.mask_format == 'box'
    assert roi_head.type == ('FastCascadeRoIHead' if said['model'] == 'cascade_mask_rcnn' else 'FastStandardRoIHead')
    epochs, steps = {'1x': (12, [8, 11]), '2x': (24, [16, 22])}[said['schedule']]
    assert cfg.train_cfg.max_epochs == cfg.train_cfg.val_interval == epochs
    assert list(cfg.param_scheduler[1].milestones) == steps and cfg.param_scheduler[1].end == epochs
    assert (cfg.model.test_cfg.rcnn.score_thr, cfg.model.test_cfg.rcnn.max_per_img) == (1e-4, 300)


def test_every_row_is_there():
    names = {path.stem for path in LEAVES}
    rows = {f'mask_rcnn_r50_{norm}_{loss}_2x' for norm in ('bn', 'nbn', 'nbn_lr') for loss in LOSSES}
    variations = {f'{model}_{norm}_seesaw{recipe}' for norm in ('bn', 'nbn') for model, recipe in [
        ('mask_rcnn_r50', '_rfs_2x'), ('mask_rcnn_r50', '_normed_mask_2x'), ('mask_rcnn_r50', '_rfs_normed_mask_2x'),
        ('mask_rcnn_r50', '_1x'), ('mask_rcnn_r101', '_2x'), ('mask_rcnn_x101', '_2x'),
        ('cascade_mask_rcnn_r50', '_2x'), ('cascade_mask_rcnn_r101', '_2x'), ('faster_rcnn_r50', '_2x')]}
    assert names == rows | variations


@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_leaf_trains_a_step(path):
    cfg = Config.fromfile(path)
    torch.manual_seed(0)
    model = build(cfg).train()
    nbn = [(name, m) for name, m in model.named_modules() if isinstance(m, NBN)]
    # each block's last norm and the downsample path's, in the last stage only
    assert len(nbn) == (4 if 'nbn' in path.stem.split('_') else 0)
    assert all(name.startswith('backbone.layer4.') and not m.training for name, m in nbn), 'norm_eval'
    losses = model.loss(*batch())
    expected = {'loss_rpn_cls', 'loss_rpn_bbox'}
    assert expected < set(losses)
    total = model.parse_losses(losses)[0]
    total.backward()
    assert torch.isfinite(total)
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any('fc_cls.weight' in name for name in moved)
    assert ('backbone.nbn.magnitude' in moved) == bool(nbn)
    assert not any(name.startswith(('backbone.conv1', 'backbone.layer1.')) for name in moved), 'frozen_stages'
    if 'faster' not in path.stem:
        assert any('mask_head' in name for name in moved)


@pytest.mark.parametrize('world_size, expected', [(1, 0.0025), (2, 0.005), (8, 0.02)])
def test_learning_rate_follows_the_total_batch(world_size, expected, monkeypatch):
    """2 images a process, 0.02 at a total of 16; the paper's 4 / 0.005 is the same rule."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.runner import Runner

    cfg = Config.fromfile(ROOT / 'configs/lvis/mask_rcnn_r50_nbn_seesaw_2x.py')
    assert cfg.train_dataloader.batch_size == 2
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
    # The Runner's own rule; only its number of processes is set, eight GPUs being no part of a test.
    runner = Runner.__new__(Runner)
    runner._world_size, runner.logger = world_size, logging.getLogger('test')
    runner._train_dataloader, runner.param_schedulers = cfg.train_dataloader, None
    runner.scale_lr(wrapper, cfg.auto_scale_lr)
    assert wrapper.optimizer.param_groups[0]['lr'] == pytest.approx(expected)
