"""ResNet-32 (4x wide) with BN + LR and cross entropy on CIFAR-100-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32x4_bn_lr_ce_cifar100_lt.py``

Top-1: no published figure.
"""
_base_ = 'resnet32x4_bn_ce_cifar100_lt.py'

model = dict(head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
