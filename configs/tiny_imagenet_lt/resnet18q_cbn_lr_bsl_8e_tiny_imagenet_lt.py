"""ResNet-18 of a quarter of the width with compound batch normalisation whose affine vectors are normalised as those of
NBN, LR and Balanced Softmax, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_cbn_lr_bsl_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_cbn_bsl_8e_tiny_imagenet_lt.py'

model = dict(
    backbone=dict(compound=dict(nbn=dict())),
    head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
