"""ResNet-8 with NBN + LR and cross entropy on Digits-LT.

Train: ``python tools/train.py configs/demo/resnet8_nbn_lr_ce_digits_lt.py``
"""
_base_ = 'resnet8_bn_ce_digits_lt.py'

model = dict(
    backbone=dict(type='NBNBackbone', base='CIFARResNet'),
    head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
