"""ResNet-8 with BN and cross entropy on Digits-LT.

Train: ``python tools/train.py configs/demo/resnet8_bn_ce_digits_lt.py``
"""
_base_ = [
    '../_base_/models/resnet8_digits.py',
    '../_base_/datasets/digits_lt.py',
    '../_base_/schedules/digits.py',
    '../_base_/default_runtime_cls.py',
]

default_hooks = dict(checkpoint=dict(interval=10), logger=dict(interval=5))
