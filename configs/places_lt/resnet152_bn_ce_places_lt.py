"""ResNet-152 from ImageNet's weights with BN and cross entropy on Places-LT; the recipe is ours.

Train: ``python tools/train.py configs/places_lt/resnet152_bn_ce_places_lt.py``
"""
_base_ = [
    '../_base_/models/resnet152_places.py',
    '../_base_/datasets/places_lt.py',
    '../_base_/schedules/places_30e.py',
    '../_base_/default_runtime_cls_selected.py',
]
