"""Mask R-CNN R50, Seesaw, 1x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_bn_seesaw_1x.py 8
"""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
train_cfg = dict(max_epochs=12, val_interval=12)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
