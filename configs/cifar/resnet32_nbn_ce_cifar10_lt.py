"""ResNet-32 with NBN and cross entropy on CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_nbn_ce_cifar10_lt.py``

Top-1: 80.0 (Table VI of the NBN paper; published, not re-run).
"""
_base_ = 'resnet32_bn_ce_cifar10_lt.py'

model = dict(backbone=dict(type='NBNBackbone', base='CIFARResNet'))
