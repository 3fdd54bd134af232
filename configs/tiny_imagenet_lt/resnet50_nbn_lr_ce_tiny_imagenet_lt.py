"""ResNet-50 with NBN + LR and cross entropy on Tiny-ImageNet-LT, 90 epochs.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet50_nbn_lr_ce_tiny_imagenet_lt.py``
"""
_base_ = 'resnet50_bn_ce_tiny_imagenet_lt.py'

model = dict(
    backbone=dict(type='NBNBackbone', base='ResNet_CIFAR', nbn=dict(placement='paper', share='all')),
    head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
