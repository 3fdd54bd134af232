"""Mask R-CNN R50, Balanced Softmax (Ren et al., NeurIPS 2020) + NBN, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_nbn_bsl_2x.py 8
"""
_base_ = './mask_rcnn_r50_bn_bsl_2x.py'
model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(init_magnitude='pretrained')))
