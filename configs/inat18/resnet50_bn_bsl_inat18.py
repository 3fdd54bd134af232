"""ResNet-50 with BN and Balanced Softmax on iNaturalist 2018, 200 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_bn_bsl_inat18.py``

Top-1: 69.8 (Table III of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_bn_ce_inat18.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
