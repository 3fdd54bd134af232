"""ResNeXt-50 with NBN and Balanced Softmax on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_nbn_bsl_imagenet_lt.py``

With LogN after training (docs/posthoc.md):
Top-1: 49.9 (Table XVII of the NBN paper; published, not re-run).
"""
_base_ = 'resnext50_nbn_ce_imagenet_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
