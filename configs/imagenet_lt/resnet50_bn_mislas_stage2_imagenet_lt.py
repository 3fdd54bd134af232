"""ResNet-50 with BN and MiSLAS on ImageNet-LT: stage 2, 10 epochs, from resnet50_bn_mislas_imagenet_lt.

Train: ``python tools/train.py configs/imagenet_lt/resnet50_bn_mislas_stage2_imagenet_lt.py``

Top-1: 52.7 (Table II of the NBN paper; published, not re-run). The table says ResNeXt-50, MiSLAS's README ResNet-50.
"""
_base_ = 'resnet50_bn_mislas_imagenet_lt.py'

model = dict(
    train_cfg=dict(_delete_=True),
    head=dict(
        predictor=dict(type='LearnableWeightScaling'),
        loss=dict(_delete_=True, type='LabelAwareSmoothingLoss', head=0.3, tail=0.0)))
load_from = 'work_dirs/resnet50_bn_mislas_imagenet_lt/epoch_180.pth'
train_dataloader = dict(sampler=dict(_delete_=True, type='ClassBalancedSampler', num_samples_per_class=4))
train_cfg = dict(max_epochs=10, val_interval=10)
# the classifier learns with 0.05 of the rate of the scales
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={
    'head.fc.weight': dict(lr_mult=0.05), 'head.fc.bias': dict(lr_mult=0.05)}))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=10, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=[r'^backbone\.'], norm='shifted')]))
