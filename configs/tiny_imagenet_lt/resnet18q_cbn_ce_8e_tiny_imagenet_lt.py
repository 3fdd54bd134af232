"""ResNet-18 of a quarter of the width with compound batch normalisation and cross entropy, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_cbn_ce_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ce_8e_tiny_imagenet_lt.py'

model = dict(
    backbone=dict(type='CompoundBNBackbone', base='ResNet', compound=dict(num_components=3)),
    head=dict(type='DualPathClsHead'))
custom_hooks = [dict(type='CompoundBNHook')]
