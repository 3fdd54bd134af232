"""ResNet-32 with BN and the class-balanced loss on CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_bn_cb_cifar10_lt.py``

Top-1: no published figure.
"""
_base_ = 'resnet32_bn_ce_cifar10_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='ClassBalancedLoss', beta=0.9999)))
