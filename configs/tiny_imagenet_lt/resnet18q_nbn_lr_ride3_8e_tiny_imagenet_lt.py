"""ResNet-18 of a quarter of the width with three experts, NBN + LR, the NBN paper's form, 8 epochs, Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_nbn_lr_ride3_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ride3_linear_8e_tiny_imagenet_lt.py'

# all batch norms of the last stage, one magnitude an expert
model = dict(
    backbone=dict(
        type='NBNBackbone', base='MultiExpertBackbone', nbn=dict(placement='A', share=r'experts\.(\d+)\.')),
    head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
