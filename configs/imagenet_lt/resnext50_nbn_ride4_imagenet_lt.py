"""ResNeXt-50 with four experts, NBN, the NBN paper's form of RIDE, ImageNet-LT, 90 epochs.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_nbn_ride4_imagenet_lt.py``
"""
_base_ = 'resnext50_nbn_lr_ride4_imagenet_lt.py'

model = dict(head=dict(predictor=dict(_delete_=True, type='Linear')))
