"""ResNet-32 (4x wide) with NBN + LR and cross entropy on CIFAR-100-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32x4_nbn_lr_ce_cifar100_lt.py``

Top-1: 50.5 (Table I of the NBN paper for 4x width; published, not re-run).
"""
_base_ = 'resnet32x4_nbn_ce_cifar100_lt.py'

model = dict(head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
