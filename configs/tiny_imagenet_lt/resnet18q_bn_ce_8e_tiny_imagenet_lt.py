"""ResNet-18 of a quarter of the width with BN and cross entropy, 8 epochs, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_ce_8e_tiny_imagenet_lt.py``
"""
_base_ = [
    '../_base_/models/resnet18q_tiny.py',
    '../_base_/datasets/tiny_imagenet_lt.py',
    '../_base_/schedules/tiny_8e.py',
    '../_base_/default_runtime_cls.py',
]
