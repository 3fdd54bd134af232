"""ResNet-50 with NBN and Balanced Softmax on iNaturalist 2018, 200 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_nbn_bsl_inat18.py``
"""
_base_ = 'resnet50_nbn_ce_inat18.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
