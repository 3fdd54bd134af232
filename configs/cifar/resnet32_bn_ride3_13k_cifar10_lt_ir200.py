"""ResNet-32 with three experts, BN, the NBN paper's form of RIDE, CIFAR-10-LT, imbalance factor 200.

Train: ``python tools/train.py configs/cifar/resnet32_bn_ride3_13k_cifar10_lt_ir200.py``

Top-1: 81.5 (Table I of the NBN paper; published, not re-run).
"""
_base_ = 'resnet32_bn_ride3_13k_cifar10_lt.py'

train_dataloader = dict(dataset=dict(dataset=dict(imbalance_factor=200)))
