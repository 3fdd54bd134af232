"""ResNet-50 with NBN + LR and cross entropy on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnet50_nbn_lr_ce_imagenet_lt.py``

Top-1: 48.8 (Table XV of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_nbn_ce_imagenet_lt.py'

model = dict(head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
