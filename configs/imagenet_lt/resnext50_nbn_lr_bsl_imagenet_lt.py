"""ResNeXt-50 with NBN + LR and Balanced Softmax on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_nbn_lr_bsl_imagenet_lt.py``

Top-1: 53.8 (Table II of the NBN paper; published, not re-run).
"""
_base_ = 'resnext50_nbn_lr_ce_imagenet_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
