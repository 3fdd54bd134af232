"""ResNeXt-50 with NBN and cross entropy on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_nbn_ce_imagenet_lt.py``
"""
_base_ = 'resnext50_bn_ce_imagenet_lt.py'

model = dict(backbone=dict(type='NBNBackbone', base='ResNeXt', nbn=dict(placement='paper', share='all')))
