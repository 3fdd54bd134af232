"""ResNet-50 with BN and cross entropy on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnet50_bn_ce_imagenet_lt.py``

Top-1: 42.2 (Table XV of the NBN paper; published, not re-run).
"""
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_lt.py',
    '../_base_/schedules/epochs_90.py',
    '../_base_/default_runtime_cls_selected.py',
]
