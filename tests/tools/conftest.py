import json

import cv2
import numpy as np
import pytest
from setup_machine import machine  # noqa: F401, a fixture; puts the modules of the set-up on the path
from tool_process import run_tool

CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['nbn_mm'], allow_failed_imports=False)
data_preprocessor = dict(num_classes=3, mean=[127.5] * 3, std=[64.0] * 3, to_rgb=False)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, num_stages=4, out_indices=(3, )),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=64, loss=dict(type='CrossEntropyLoss'), topk=(1, )))
dataset = dict(type='CustomDataset', data_root={data!r}, pipeline=[
    dict(type='LoadImageFromFile'), dict(type='PackInputs')])
train_dataloader = dict(batch_size=6, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(batch_size=8, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, ))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1),
    visualization=dict(type='VisualizationHook', enable=False))
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=0)
"""


@pytest.fixture(scope='session')
def image_folder(tmp_path_factory):
    """18 images of 3 classes, 32 × 32, as mmpretrain's CustomDataset reads them."""
    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for label in range(3):
        (root / f'class_{label}').mkdir()
        for i in range(6):
            image = rng.integers(0, 128, (32, 32, 3)) + np.eye(3, dtype=int)[label] * 100
            cv2.imwrite(str(root / f'class_{label}' / f'{label}_{i}.png'), image.astype(np.uint8))
    return root


@pytest.fixture(scope='session')
def cls_config(tmp_path_factory, image_folder):
    """A config of mmpretrain: 3 iterations an epoch, 2 epochs."""
    pytest.importorskip('mmpretrain', reason='the config needs mmpretrain')
    path = tmp_path_factory.mktemp('configs') / 'tiny_cls.py'
    path.write_text(CONFIG.replace('{data!r}', repr(str(image_folder))))
    return path

DET_CONFIG = """
default_scope = 'mmdet'
custom_imports = dict(imports=['nbn_mm'], allow_failed_imports=False)
norm = dict(type='BN', requires_grad=True)
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3, pad_size_divisor=32),
    backbone=dict(type='ResNet', depth=18, base_channels=8, norm_cfg=norm, norm_eval=False, frozen_stages=-1),
    neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=16, start_level=2, num_outs=2),
    bbox_head=dict(
        type='RetinaHead', num_classes=2, in_channels=16, feat_channels=16, stacked_convs=1,
        anchor_generator=dict(type='AnchorGenerator', octave_base_scale=2, scales_per_octave=1, ratios=[1.0],
                              strides=[16, 32]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True), loss_bbox=dict(type='L1Loss')),
    train_cfg=dict(assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0,
                                 ignore_iof_thr=-1),
                   sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1, debug=False),
    test_cfg=dict(nms_pre=100, min_bbox_size=0, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5),
                  max_per_img=10))
meta = dict(classes=('square', 'disc'))
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs', meta_keys=keys)]
dataset = dict(type='CocoDataset', data_root={data!r}, ann_file='boxes.json', data_prefix=dict(img=''), metainfo=meta)
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=test_pipeline, **dataset))
val_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=test_pipeline, test_mode=True, **dataset))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='CocoMetric', ann_file={data!r} + '/boxes.json', metric='bbox')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(visualization=dict(type='DetVisualizationHook'), logger=dict(type='LoggerHook', interval=1))
visualizer = dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
"""


@pytest.fixture(scope='session')
def det_config(tmp_path_factory):
    """A config of mmdet with 4 images of 2 classes in COCO format: 2 iterations."""
    pytest.importorskip('mmdet', reason='the config needs mmdet')
    root = tmp_path_factory.mktemp('coco')
    images, boxes = [], []
    for i in range(4):
        image = np.full((64, 64, 3), 30, np.uint8)
        for label, (x, y) in enumerate([(4 + 2 * i, 6), (30, 30 - 3 * i)]):
            if label:
                cv2.circle(image, (x + 12, y + 12), 12, (200, 200, 60), -1)
            else:
                cv2.rectangle(image, (x, y), (x + 24, y + 24), (60, 60, 200), -1)
            boxes.append(dict(id=len(boxes) + 1, image_id=i, category_id=label + 1, bbox=[x, y, 24, 24], area=576,
                              iscrowd=0))
        cv2.imwrite(str(root / f'{i}.png'), image)
        images.append(dict(id=i, file_name=f'{i}.png', width=64, height=64))
    categories = [dict(id=1, name='square'), dict(id=2, name='disc')]
    (root / 'boxes.json').write_text(json.dumps(dict(images=images, annotations=boxes, categories=categories)))
    path = tmp_path_factory.mktemp('configs') / 'tiny_det.py'
    path.write_text(DET_CONFIG.replace('{data!r}', repr(str(root))))
    return path


@pytest.fixture(scope='session')
def cls_run(tmp_path_factory, cls_config):
    """Work dir of a finished training of the config of mmpretrain, and what it printed."""
    work_dir = tmp_path_factory.mktemp('cls_run')
    code, output = run_tool('train.py', cls_config, '--work-dir', work_dir, cwd=work_dir)
    assert code == 0, output
    return work_dir, output


@pytest.fixture(scope='session')
def det_run(tmp_path_factory, det_config):
    """Work dir of a finished training of the config of mmdet, and what it printed."""
    work_dir = tmp_path_factory.mktemp('det_run')
    code, output = run_tool('train.py', det_config, '--work-dir', work_dir, cwd=work_dir)
    assert code == 0, output
    return work_dir, output
