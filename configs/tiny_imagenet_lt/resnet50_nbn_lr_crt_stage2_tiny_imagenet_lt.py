"""ResNet-50 with NBN + LR and cRT on Tiny-ImageNet-LT: stage 2 from resnet50_nbn_lr_ce_tiny_imagenet_lt.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet50_nbn_lr_crt_stage2_tiny_imagenet_lt.py``
"""
_base_ = 'resnet50_bn_crt_stage2_tiny_imagenet_lt.py'

model = dict(
    backbone=dict(type='NBNBackbone', base='ResNet_CIFAR', nbn=dict(placement='paper', share='all')),
    head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
load_from = 'work_dirs/resnet50_nbn_lr_ce_tiny_imagenet_lt/epoch_90.pth'
