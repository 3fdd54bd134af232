"""ResNet-32 (4x wide) with three experts, NBN + LR, the NBN paper's form of RIDE, CIFAR-100-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32x4_nbn_lr_ride3_13k_cifar100_lt.py``

Top-1: 57.5 (Table I of the NBN paper for 4x width; published, not re-run).
"""
_base_ = 'resnet32x4_bn_ride3_13k_cifar100_lt.py'

# all batch norms of the last stage, one magnitude an expert
model = dict(
    backbone=dict(
        type='NBNBackbone', base='MultiExpertBackbone', nbn=dict(placement='A', share=r'experts\.(\d+)\.')),
    head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
