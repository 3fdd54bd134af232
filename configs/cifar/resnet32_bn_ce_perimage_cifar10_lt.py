"""ResNet-32 with BN and cross entropy on CIFAR-10-LT, imbalance factor 100, its images read and augmented one by one.

Train: ``python tools/train.py configs/cifar/resnet32_bn_ce_perimage_cifar10_lt.py``

The recipe is that of ``resnet32_bn_ce_cifar10_lt.py``; random numbers differ.
"""
_base_ = [
    '../_base_/models/resnet32_cifar.py',
    '../_base_/datasets/cifar10_lt_per_image.py',
    '../_base_/schedules/cifar_13k.py',
    '../_base_/default_runtime_cls_iter.py',
]
