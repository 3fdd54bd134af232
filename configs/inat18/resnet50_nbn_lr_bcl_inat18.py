"""ResNet-50 with NBN + LR (a linear classifier) and balanced contrastive learning on iNaturalist 2018, 100 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_nbn_lr_bcl_inat18.py``

Top-1: 72.6 (Table III of the NBN paper; published, not re-run; whether this "Ours" includes LR is not said).
"""
_base_ = 'resnet50_bn_bcl_inat18.py'

model = dict(
    backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(placement='paper', share='all')),
    head=dict(predictor=dict(_delete_=True, type='RectifiedPredictor', base='Linear')))
