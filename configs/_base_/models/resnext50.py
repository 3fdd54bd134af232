# ResNeXt-50 32x4d with a linear classifier of 1,000 classes.
_base_ = 'resnet50.py'
model = dict(backbone=dict(type='ResNeXt', groups=32, width_per_group=4))
