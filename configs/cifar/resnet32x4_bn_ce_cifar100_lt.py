"""ResNet-32 (4x wide) with BN and cross entropy on CIFAR-100-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32x4_bn_ce_cifar100_lt.py``

Top-1: 46.1 (Table I of the NBN paper for 4x width; published, not re-run).
"""
_base_ = 'resnet32_bn_ce_cifar100_lt.py'

model = dict(backbone=dict(width_multiplier=4), head=dict(in_channels=256))
