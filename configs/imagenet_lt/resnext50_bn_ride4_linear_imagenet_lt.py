"""ResNeXt-50 with four experts, BN, the NBN paper's form of RIDE, ImageNet-LT, 90 epochs: what NBN + LR is added to.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_bn_ride4_linear_imagenet_lt.py``
"""
_base_ = 'resnext50_nbn_ride4_imagenet_lt.py'

model = dict(
    backbone=dict(
        _delete_=True, type='MultiExpertBackbone', network='ResNeXt', num_experts=4, depth=50, groups=32,
        width_per_group=4, out_indices=(3, ), style='pytorch'))
