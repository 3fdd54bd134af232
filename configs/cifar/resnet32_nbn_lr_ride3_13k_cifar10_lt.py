"""ResNet-32 with three experts, NBN + LR, the NBN paper's form of RIDE, CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_nbn_lr_ride3_13k_cifar10_lt.py``

Top-1: 87.1 (Table I of the NBN paper; published, not re-run).
"""
_base_ = 'resnet32_bn_ride3_13k_cifar10_lt.py'

# all batch norms of the last stage, one magnitude an expert
model = dict(
    backbone=dict(
        type='NBNBackbone', base='MultiExpertBackbone', nbn=dict(placement='A', share=r'experts\.(\d+)\.')),
    head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
