"""ResNet-50 with NBN and cross entropy on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnet50_nbn_ce_imagenet_lt.py``

Top-1: 47.3 (Table XV of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_bn_ce_imagenet_lt.py'

model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(placement='paper', share='all')))
