"""ResNet-32 with BN + LR and Balanced Softmax on CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_bn_lr_bsl_cifar10_lt.py``

Top-1: no published figure.
"""
_base_ = 'resnet32_bn_lr_ce_cifar10_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
