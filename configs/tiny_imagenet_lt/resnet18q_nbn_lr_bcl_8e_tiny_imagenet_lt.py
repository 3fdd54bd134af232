"""ResNet-18 of a quarter of the width with NBN + LR and BCL, 8 epochs, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_nbn_lr_bcl_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_bcl_8e_tiny_imagenet_lt.py'

model = dict(
    backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(placement='paper', share='all')),
    head=dict(predictor=dict(_delete_=True, type='RectifiedPredictor', base='Linear')))
