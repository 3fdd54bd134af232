"""ResNet-18 of a quarter of the width with BN, Balanced Softmax and CMO, 8 epochs, on Tiny-ImageNet-LT.

Of these few epochs the first and the last one, not three each, are without CMO.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_bsl_cmo_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_bsl_8e_tiny_imagenet_lt.py'

train_dataloader = dict(dataset=dict(cmo=dict(prob=0.5, alpha=1.0, power=1.0)))
default_hooks = dict(mixing_window=dict(type='MixingWindowHook', skip_first=1, skip_last=1))
