"""ResNet-50 with NBN + LR and Balanced Softmax on Tiny-ImageNet-LT, 90 epochs.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet50_nbn_lr_bsl_tiny_imagenet_lt.py``
"""
_base_ = 'resnet50_nbn_lr_ce_tiny_imagenet_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
