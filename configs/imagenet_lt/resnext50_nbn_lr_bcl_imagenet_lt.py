"""ResNeXt-50 with NBN + LR (a linear classifier) and balanced contrastive learning (BCL) on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_nbn_lr_bcl_imagenet_lt.py``

Top-1: 57.7 (Table II of the NBN paper; published, not re-run; whether its "Ours" includes LR is not said for this row).
"""
_base_ = 'resnext50_bn_bcl_imagenet_lt.py'

model = dict(
    backbone=dict(type='NBNBackbone', base='ResNeXt', nbn=dict(placement='paper', share='all')),
    head=dict(predictor=dict(_delete_=True, type='RectifiedPredictor', base='Linear')))
