"""ResNet-50 with NBN and Balanced Softmax on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnet50_nbn_bsl_imagenet_lt.py``

Top-1: 51.5 (Table XV of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_nbn_ce_imagenet_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
