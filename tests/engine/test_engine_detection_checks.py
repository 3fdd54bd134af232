"""Detectors whose parts disagree in their classes, told before anything is built."""
import copy
import json

import pytest
from mmengine.config import Config

from nbn_mm.engine.launch import LaunchError, train
from nbn_mm.engine.launch.detection_checks import check_box_heads
from nbn_mm.utils.hosts import host_error

if host_error('mmdet') is not None:
    pytest.skip('mmdet does not import', allow_module_level=True)

LOADERS = ('train_dataloader', 'val_dataloader')
SEESAW = dict(type='SeesawLoss', num_classes=7)
LR = dict(type='RectifiedPredictor', base='NormedLinear')


def config(box=None, mask=None, classes=None):
    box = dict(type='Shared2FCBBoxHead', num_classes=7, loss_cls=SEESAW) if box is None else box
    head = dict(type='StandardRoIHead', bbox_head=box)
    if mask is not None:
        head['mask_head'] = mask
    dataset = dict(type='LVISV1Dataset', ann_file='none.json')
    if classes is not None:
        dataset['metainfo'] = dict(classes=[str(i) for i in range(classes)])
    cfg = dict(default_scope='mmdet', model=dict(type='MaskRCNN', roi_head=head),
               train_dataloader=dict(dataset=dict(type='ClassBalancedDataset', dataset=dataset)))
    return Config(copy.deepcopy(cfg))


def box_head(loss=SEESAW, **kwargs):
    return dict(type='Shared2FCBBoxHead', num_classes=7, loss_cls=loss, **kwargs)


@pytest.mark.parametrize('cfg', [
    config(mask=dict(type='FCNMaskHead', num_classes=7), classes=7),
    config(box=[box_head()] * 3, mask=[dict(type='FCNMaskHead', num_classes=7)] * 3),
    config(mask=dict(type='FCNMaskHead', class_agnostic=True)),
    config(box=dict(type='mmdet.Shared2FCBBoxHead', loss_cls=dict(type='CrossEntropyLoss')), classes=80),
    config(box=dict(type='Shared2FCBBoxHead', num_classes=1203, loss_cls=dict(type='SeesawLoss'))),
    Config(dict(default_scope='mmpretrain', model=dict(type='ImageClassifier', head=dict(num_classes=3)))),
    Config(dict(default_scope='mmdet', model=dict(type='RetinaNet', bbox_head=dict(num_classes=3)))),
    Config(dict(default_scope='mmdet')),
])
def test_passes(cfg):
    check_box_heads(cfg, LOADERS)


@pytest.mark.parametrize('cfg, texts', [
    (config(box=box_head(dict(type='SeesawLoss'))),
     ['model.roi_head.bbox_head.num_classes=7', 'bbox_head.loss_cls.num_classes=1203 (default of SeesawLoss)']),
    (config(box=box_head(dict(type='FastSeesawLoss'))),
     ['bbox_head.loss_cls.num_classes=1203 (default of FastSeesawLoss)']),
    (config(box=box_head(dict(type='EqualizationV2Loss'))),
     ['model.roi_head.bbox_head.loss_cls.num_classes=1203 (default of EqualizationV2Loss)']),
    (config(box=box_head(dict(type='EqualizationLoss', num_classes=6))), ['loss_cls.num_classes=6']),
    (config(box=[box_head(), box_head(), dict(box_head(), num_classes=80)]),
     ['model.roi_head.bbox_head[2].num_classes=80', 'model.roi_head.bbox_head[0].loss_cls.num_classes=7']),
    (config(mask=dict(type='FCNMaskHead')), ['mask_head.num_classes=80 (default of FCNMaskHead)']),
    (config(box=dict(type='Shared2FCBBoxHead', loss_cls=SEESAW)),
     ['bbox_head.num_classes=80 (default of Shared2FCBBoxHead)', 'loss_cls.num_classes=7']),
    (config(classes=9), ['train_dataloader.dataset.dataset.metainfo.classes: 9 names']),
])
def test_numbers_of_classes_differ(cfg, texts):
    with pytest.raises(LaunchError, match='The numbers of classes differ') as error:
        check_box_heads(cfg, LOADERS)
    for text in texts:
        assert text in str(error.value)


@pytest.mark.parametrize('loss, unrectified, allowed', [
    (SEESAW, None, '2'), (SEESAW, 1, '2'), (SEESAW, 3, '2'),
    (dict(type='FastSeesawLoss', num_classes=7), 1, '2'),
    (dict(type='CrossEntropyLoss'), 2, '0 or 1'),
    (dict(type='BoxBalancedSoftmaxLoss'), 2, '0 or 1'),
    (dict(type='EqualizationV2Loss', num_classes=7), 2, '0 or 1'),
    (dict(type='EqualizationLoss', num_classes=7), 1, '0'),
])
def test_outputs_that_are_not_rectified(loss, unrectified, allowed):
    predictor = LR if unrectified is None else dict(LR, rectification=dict(unrectified=unrectified))
    with pytest.raises(LaunchError) as error:
        check_box_heads(config(box=[box_head(loss, cls_predictor_cfg=predictor)]), LOADERS)
    assert str(error.value).startswith('model.roi_head.bbox_head[0].cls_predictor_cfg.rectification.unrectified='
                                       f'{unrectified or 0}, but {loss["type"]} in')
    assert str(error.value).endswith(f'Set it to {allowed}.')
    for number in map(int, allowed.split(' or ')):
        predictor = dict(LR, rectification=dict(unrectified=number))
        check_box_heads(config(box=box_head(loss, cls_predictor_cfg=predictor)), LOADERS)


def test_training_starts_with_the_check(tmp_path):
    cfg = config(box=box_head(dict(type='SeesawLoss')))
    path = tmp_path / 'config.json'
    path.write_text(json.dumps(cfg.to_dict()))
    with pytest.raises(LaunchError, match='The numbers of classes differ'):
        train(str(path), work_dir=str(tmp_path / 'out'))
