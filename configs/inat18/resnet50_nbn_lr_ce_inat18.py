"""ResNet-50 with NBN + LR and cross entropy on iNaturalist 2018, 200 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_nbn_lr_ce_inat18.py``

Top-1: 66.5 (Table III of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_nbn_ce_inat18.py'

model = dict(head=dict(predictor=dict(type='RectifiedPredictor', base='Linear')))
