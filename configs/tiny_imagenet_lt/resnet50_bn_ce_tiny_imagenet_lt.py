"""ResNet-50 with a stem for 64 x 64 images, BN and cross entropy on Tiny-ImageNet-LT, 90 epochs.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet50_bn_ce_tiny_imagenet_lt.py``
"""
_base_ = [
    '../_base_/models/resnet50_tiny.py',
    '../_base_/datasets/tiny_imagenet_lt.py',
    '../_base_/schedules/tiny_90e.py',
    '../_base_/default_runtime_cls.py',
]
