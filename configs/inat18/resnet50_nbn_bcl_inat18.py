"""ResNet-50 with NBN, a cosine classifier and balanced contrastive learning on iNaturalist 2018, 100 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_nbn_bcl_inat18.py``
"""
_base_ = 'resnet50_bn_bcl_inat18.py'

model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(placement='paper', share='all')))
