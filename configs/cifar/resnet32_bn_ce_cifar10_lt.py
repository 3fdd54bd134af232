"""ResNet-32 with BN and cross entropy on CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_bn_ce_cifar10_lt.py``

Top-1: 78.0 (Table I of the NBN paper; published, not re-run).
"""
_base_ = [
    '../_base_/models/resnet32_cifar.py',
    '../_base_/datasets/cifar10_lt.py',
    '../_base_/schedules/cifar_13k.py',
    '../_base_/default_runtime_cls_iter.py',
]
