"""ResNet-32 (4x wide) with NBN + LR and Seesaw loss on CIFAR-100-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32x4_nbn_lr_seesaw_cifar100_lt.py``

Top-1: no published figure.
"""
_base_ = 'resnet32x4_nbn_lr_ce_cifar100_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='FastSeesawClsLoss', num_classes=100)))
