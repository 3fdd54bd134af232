"""ResNet-18 of a quarter of the width with compound batch normalisation and Balanced Softmax, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_cbn_bsl_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_cbn_ce_8e_tiny_imagenet_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
