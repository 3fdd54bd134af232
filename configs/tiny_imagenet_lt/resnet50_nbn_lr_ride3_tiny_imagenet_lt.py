"""ResNet-50 with three experts, NBN + LR, the NBN paper's form of RIDE, 90 epochs, Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet50_nbn_lr_ride3_tiny_imagenet_lt.py``
"""
_base_ = 'resnet50_bn_ride3_tiny_imagenet_lt.py'

# all batch norms of the last stage, one magnitude an expert
model = dict(
    backbone=dict(
        type='NBNBackbone', base='MultiExpertBackbone', nbn=dict(placement='A', share=r'experts\.(\d+)\.')),
    head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
