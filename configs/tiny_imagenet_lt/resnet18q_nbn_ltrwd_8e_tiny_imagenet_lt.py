"""ResNet-18 of a quarter of the width with NBN and LTR weight balancing, 6 + 2 epochs in one run, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_nbn_ltrwd_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ltrwd_8e_tiny_imagenet_lt.py'

model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(placement='paper', share='all')))
