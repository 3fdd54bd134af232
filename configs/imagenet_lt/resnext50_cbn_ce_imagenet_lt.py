"""ResNeXt-50 with compound batch normalisation (both paths) and cross entropy on ImageNet-LT; the recipe is ours.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_cbn_ce_imagenet_lt.py``

Top-1: 57.4 (row CBN of Table II of the NBN paper; published, not re-run; neither its recipe nor its loss is known).
"""
_base_ = 'resnext50_bn_ce_imagenet_lt.py'

model = dict(
    backbone=dict(type='CompoundBNBackbone', base='ResNeXt', compound=dict(num_components=3)),
    head=dict(type='DualPathClsHead'))
custom_hooks = [dict(type='CompoundBNHook')]
