"""Mask R-CNN R50, EQL + NBN, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_nbn_eql_2x.py 8
"""
_base_ = './mask_rcnn_r50_bn_eql_2x.py'
model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(init_magnitude='pretrained')))
