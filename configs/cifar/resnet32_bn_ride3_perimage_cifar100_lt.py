"""ResNet-32 with three experts, BN, RIDE's own form and recipe, CIFAR-100-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_bn_ride3_perimage_cifar100_lt.py``

Rotation has no batched form, so that images are read and augmented one by one.

Top-1: 48.6 (RIDE's MODEL_ZOO.md; published, not re-run).
"""
_base_ = 'resnet32_bn_ride3_perimage_cifar10_lt.py'

model = dict(backbone=dict(reduce_dimension=True), head=dict(num_classes=100, in_channels=48))
train_dataloader = dict(dataset=dict(type='CIFAR100LT', data_root='data/cifar100'))
val_dataloader = dict(dataset=dict(type='CIFAR100LT', data_root='data/cifar100'))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=0.1))
