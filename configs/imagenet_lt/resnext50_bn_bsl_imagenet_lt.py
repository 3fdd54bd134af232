"""ResNeXt-50 with BN and Balanced Softmax on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_bn_bsl_imagenet_lt.py``

Top-1: 51.1 (Table II of the NBN paper; published, not re-run).
"""
_base_ = 'resnext50_bn_ce_imagenet_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
