"""ResNet-8 with NBN + LR and Balanced Softmax on Digits-LT.

Train: ``python tools/train.py configs/demo/resnet8_nbn_lr_bsl_digits_lt.py``
"""
_base_ = 'resnet8_nbn_lr_ce_digits_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
