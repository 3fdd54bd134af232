"""ResNet-32 with NBN and Seesaw loss on CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_nbn_seesaw_cifar10_lt.py``

Top-1: no published figure.
"""
_base_ = 'resnet32_nbn_ce_cifar10_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='FastSeesawClsLoss', num_classes=10)))
