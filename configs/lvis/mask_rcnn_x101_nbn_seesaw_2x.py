"""Mask R-CNN X101-64x4d, Seesaw + NBN, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_x101_nbn_seesaw_2x.py 8
"""
_base_ = './mask_rcnn_r50_nbn_seesaw_2x.py'
model = dict(
    backbone=dict(
        base='ResNeXt',
        depth=101,
        groups=64,
        base_width=4,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnext101_64x4d')))
