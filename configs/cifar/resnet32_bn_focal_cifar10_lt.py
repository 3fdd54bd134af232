"""ResNet-32 with BN and focal loss on CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_bn_focal_cifar10_lt.py``

Top-1: 77.1 (Table I of the NBN paper; published, not re-run).
"""
_base_ = 'resnet32_bn_ce_cifar10_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='FocalLoss', gamma=2.0, alpha=0.25)))
