"""ResNeXt-50 with NBN + LR and cross entropy on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_nbn_lr_ce_imagenet_lt.py``

Top-1: 49.4 (Table II of the NBN paper; published, not re-run).
"""
_base_ = 'resnext50_nbn_ce_imagenet_lt.py'

model = dict(head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
