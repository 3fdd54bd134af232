"""ResNet-32 (4x wide) with BN and LDAM on CIFAR-100-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32x4_bn_ldam_cifar100_lt.py``

Top-1: 48.3 (Table I of the NBN paper for 4x width; published, not re-run).
"""
_base_ = 'resnet32x4_bn_ce_cifar100_lt.py'

model = dict(head=dict(
    predictor=dict(type='CosineLinear', scale=30), loss=dict(_delete_=True, type='LDAMLoss', scale=30)))
