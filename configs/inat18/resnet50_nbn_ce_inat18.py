"""ResNet-50 with NBN and cross entropy on iNaturalist 2018, 200 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_nbn_ce_inat18.py``
"""
_base_ = 'resnet50_bn_ce_inat18.py'

model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(placement='paper', share='all')))
