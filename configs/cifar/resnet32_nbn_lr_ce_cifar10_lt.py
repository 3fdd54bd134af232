"""ResNet-32 with NBN + LR and cross entropy on CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_nbn_lr_ce_cifar10_lt.py``

Top-1: 81.5 (Table I of the NBN paper; published, not re-run).
"""
_base_ = 'resnet32_nbn_ce_cifar10_lt.py'

model = dict(head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
