"""ResNeXt-50 with BN and IIF on ImageNet-LT: stage 2, 5 epochs, from resnext50_bn_iif_imagenet_lt.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_bn_iif_stage2_imagenet_lt.py``

Top-1: 52.8 (Table II of the NBN paper; published, not re-run).
"""
_base_ = 'resnext50_bn_iif_imagenet_lt.py'

model = dict(head=dict(predictor=dict(type='InverseFrequencyCosineLinear', kind='smooth')))
load_from = 'work_dirs/resnext50_bn_iif_imagenet_lt/epoch_90.pth'
train_cfg = dict(max_epochs=5, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=2e-5, weight_decay=1e-4))
param_scheduler = []
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=[r'^backbone\.'], norm='shifted')]))
