"""ResNet-18 of a quarter of the width with BN and LDAM-DRW, 8 epochs, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_ldam_drw_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ldam_8e_tiny_imagenet_lt.py'

default_hooks = dict(stage=dict(type='StageHook', stages=[dict(begin=6, reweight=True)]))
