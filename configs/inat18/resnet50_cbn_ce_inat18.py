"""ResNet-50 with compound batch normalisation (both paths) and cross entropy on iNaturalist 2018; the recipe is ours.

Train: ``python tools/train.py configs/inat18/resnet50_cbn_ce_inat18.py``

Top-1: 74.8 (row CBN of Table III of the NBN paper; published, not re-run; neither its recipe nor its loss is known).
"""
_base_ = 'resnet50_bn_ce_inat18.py'

model = dict(
    backbone=dict(type='CompoundBNBackbone', base='ResNet', compound=dict(num_components=3)),
    head=dict(type='DualPathClsHead'))
custom_hooks = [dict(type='CompoundBNHook')]
