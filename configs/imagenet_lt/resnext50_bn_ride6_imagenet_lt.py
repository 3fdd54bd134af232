"""ResNeXt-50 with six experts, RIDE's own form and recipe, ImageNet-LT: the teacher of resnext50_bn_ride4_distill.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_bn_ride6_imagenet_lt.py``

Top-1: 57.5 (RIDE's MODEL_ZOO.md; published, not re-run).
"""
_base_ = 'resnext50_bn_ride4_imagenet_lt.py'

model = dict(backbone=dict(num_experts=6), head=dict(num_experts=6))
