"""ResNet-32 (4x wide) with BN and focal loss on CIFAR-100-LT, imbalance factor 50.

Train: ``python tools/train.py configs/cifar/resnet32x4_bn_focal_cifar100_lt_ir50.py``

Top-1: 52.0 (Table I of the NBN paper for 4x width; published, not re-run).
"""
_base_ = 'resnet32x4_bn_focal_cifar100_lt.py'

train_dataloader = dict(dataset=dict(dataset=dict(imbalance_factor=50)))
