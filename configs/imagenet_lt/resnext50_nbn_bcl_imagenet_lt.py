"""ResNeXt-50 with NBN, a cosine classifier and balanced contrastive learning (BCL) on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_nbn_bcl_imagenet_lt.py``
"""
_base_ = 'resnext50_bn_bcl_imagenet_lt.py'

model = dict(backbone=dict(type='NBNBackbone', base='ResNeXt', nbn=dict(placement='paper', share='all')))
