_base_ = './mask_rcnn_r50_nbn_seesaw_2x.py'
model = dict(
    backbone=dict(
        base='ResNeXt',
        depth=101,
        groups=64,
        base_width=4,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnext101_64x4d')))
