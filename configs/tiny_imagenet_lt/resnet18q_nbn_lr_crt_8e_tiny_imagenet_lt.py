"""ResNet-18 of a quarter of the width with NBN + LR and cRT, 6 epochs of stage 1 and 2 of stage 2, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_nbn_lr_crt_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_nbn_crt_8e_tiny_imagenet_lt.py'

model = dict(head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
