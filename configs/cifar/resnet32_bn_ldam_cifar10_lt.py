"""ResNet-32 with BN and LDAM on CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_bn_ldam_cifar10_lt.py``

Top-1: 78.9 (Table I of the NBN paper; published, not re-run).
"""
_base_ = 'resnet32_bn_ce_cifar10_lt.py'

model = dict(head=dict(
    predictor=dict(type='CosineLinear', scale=30), loss=dict(_delete_=True, type='LDAMLoss', scale=30)))
