"""Mask R-CNN R50, EQLv2 (Tan et al., CVPR 2021) + NBN, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_nbn_eqlv2_2x.py 8
"""
_base_ = './mask_rcnn_r50_bn_eqlv2_2x.py'
model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(init_magnitude='pretrained')))
