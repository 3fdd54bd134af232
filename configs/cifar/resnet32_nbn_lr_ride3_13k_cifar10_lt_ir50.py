"""ResNet-32 with three experts, NBN + LR, the NBN paper's form of RIDE, CIFAR-10-LT, imbalance factor 50.

Train: ``python tools/train.py configs/cifar/resnet32_nbn_lr_ride3_13k_cifar10_lt_ir50.py``

Top-1: 89.7 (Table I of the NBN paper; published, not re-run).
"""
_base_ = 'resnet32_nbn_lr_ride3_13k_cifar10_lt.py'

train_dataloader = dict(dataset=dict(dataset=dict(imbalance_factor=50)))
