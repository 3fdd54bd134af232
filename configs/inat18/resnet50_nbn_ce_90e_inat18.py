"""ResNet-50 with NBN and cross entropy on iNaturalist 2018, 90 epochs: stage 1 of Table VIII (schedule unstated).

Train: ``python tools/train.py configs/inat18/resnet50_nbn_ce_90e_inat18.py``

Top-1: 63.3 (Table VIII of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_bn_ce_90e_inat18.py'

model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(placement='paper', share='all')))
