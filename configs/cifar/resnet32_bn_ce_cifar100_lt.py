"""ResNet-32 with BN and cross entropy on CIFAR-100-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_bn_ce_cifar100_lt.py``

Top-1: no published figure.
"""
_base_ = [
    '../_base_/models/resnet32_cifar.py',
    '../_base_/datasets/cifar100_lt.py',
    '../_base_/schedules/cifar_13k.py',
    '../_base_/default_runtime_cls_iter.py',
]

model = dict(head=dict(num_classes=100))
