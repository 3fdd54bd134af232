"""ResNet-32 with BN and Balanced Softmax on CIFAR-100-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_bn_bsl_cifar100_lt.py``

Top-1: no published figure.
"""
_base_ = 'resnet32_bn_ce_cifar100_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
