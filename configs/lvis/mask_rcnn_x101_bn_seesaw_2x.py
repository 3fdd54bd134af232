"""Mask R-CNN X101-64x4d, Seesaw, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_x101_bn_seesaw_2x.py 8
"""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
model = dict(
    backbone=dict(
        type='ResNeXt',
        depth=101,
        groups=64,
        base_width=4,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnext101_64x4d')))
