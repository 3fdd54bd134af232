"""ResNeXt-50 with BN and ALA on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_bn_ala_imagenet_lt.py``

Top-1: 52.4 (Table II of the NBN paper; published, not re-run).
"""
_base_ = 'resnext50_bn_ce_imagenet_lt.py'

model = dict(head=dict(
    predictor=dict(type='CosineLinear', scale=30),
    loss=dict(_delete_=True, type='AdaptiveLogitAdjustmentLoss', scale=30)))
