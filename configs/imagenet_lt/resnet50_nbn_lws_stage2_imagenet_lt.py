"""ResNet-50 with NBN and LWS on ImageNet-LT: stage 2 from resnet50_nbn_ce_imagenet_lt, the magnitude frozen.

Train: ``python tools/train.py configs/imagenet_lt/resnet50_nbn_lws_stage2_imagenet_lt.py``
"""
_base_ = 'resnet50_bn_lws_stage2_imagenet_lt.py'

model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(placement='paper', share='all')))
load_from = 'work_dirs/resnet50_nbn_ce_imagenet_lt/epoch_90.pth'
