"""Cascade Mask R-CNN R101, Seesaw + NBN, 2x.

    bash tools/dist_train.sh configs/lvis/cascade_mask_rcnn_r101_nbn_seesaw_2x.py 8
"""
_base_ = './cascade_mask_rcnn_r101_bn_seesaw_2x.py'
model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(init_magnitude='pretrained')))
