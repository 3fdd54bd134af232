"""Mask R-CNN R101, Seesaw + NBN, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r101_nbn_seesaw_2x.py 8
"""
_base_ = './mask_rcnn_r50_nbn_seesaw_2x.py'
model = dict(backbone=dict(depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')))
