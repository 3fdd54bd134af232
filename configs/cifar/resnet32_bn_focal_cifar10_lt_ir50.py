"""ResNet-32 with BN and focal loss on CIFAR-10-LT, imbalance factor 50.

Train: ``python tools/train.py configs/cifar/resnet32_bn_focal_cifar10_lt_ir50.py``

Top-1: 83.0 (Table I of the NBN paper; published, not re-run).
"""
_base_ = 'resnet32_bn_focal_cifar10_lt.py'

train_dataloader = dict(dataset=dict(dataset=dict(imbalance_factor=50)))
