"""ResNet-8 with BN and Balanced Softmax on Digits-LT.

Train: ``python tools/train.py configs/demo/resnet8_bn_bsl_digits_lt.py``
"""
_base_ = 'resnet8_bn_ce_digits_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
