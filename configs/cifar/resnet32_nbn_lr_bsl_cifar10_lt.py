"""ResNet-32 with NBN + LR and Balanced Softmax on CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_nbn_lr_bsl_cifar10_lt.py``

Top-1: 84.1 (Table I of the NBN paper; published, not re-run).
"""
_base_ = 'resnet32_nbn_lr_ce_cifar10_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
