"""ResNet-18 of a quarter of the width with BN and ALA, 8 epochs, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_ala_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ce_8e_tiny_imagenet_lt.py'

model = dict(head=dict(
    predictor=dict(type='CosineLinear', scale=30),
    loss=dict(_delete_=True, type='AdaptiveLogitAdjustmentLoss', scale=30)))
