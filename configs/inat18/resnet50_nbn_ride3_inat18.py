"""ResNet-50 with three experts, NBN, the NBN paper's form of RIDE, iNaturalist 2018, 200 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_nbn_ride3_inat18.py``
"""
_base_ = 'resnet50_nbn_lr_ride3_inat18.py'

model = dict(head=dict(predictor=dict(_delete_=True, type='Linear')))
