"""ResNeXt-50 with BN, a cosine classifier and mixup on ImageNet-LT: stage 1 of IIF, on the NBN paper's 90 epochs.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_bn_iif_imagenet_lt.py``
"""
_base_ = 'resnext50_bn_ce_imagenet_lt.py'

model = dict(
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)),
    head=dict(predictor=dict(type='CosineLinear', scale=16.0), loss=dict(use_soft=True)))
