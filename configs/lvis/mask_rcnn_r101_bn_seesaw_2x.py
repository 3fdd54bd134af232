"""Mask R-CNN R101, Seesaw, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r101_bn_seesaw_2x.py 8
"""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
model = dict(backbone=dict(depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')))
