"""ResNet-50 with NBN + LR and Balanced Softmax on iNaturalist 2018, 200 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_nbn_lr_bsl_inat18.py``

Top-1: 71.6 (Table III of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_nbn_lr_ce_inat18.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
