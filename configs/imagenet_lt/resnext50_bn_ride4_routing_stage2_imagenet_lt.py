"""ResNeXt-50 with four experts, RIDE's routing of experts, ImageNet-LT: stage 2, 5 epochs, from resnext50_bn_ride4.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_bn_ride4_routing_stage2_imagenet_lt.py``
"""
_base_ = 'resnext50_bn_ride4_imagenet_lt.py'

load_from = 'work_dirs/resnext50_bn_ride4_imagenet_lt/epoch_100.pth'
model = dict(
    type='RoutedClassifier',
    head=dict(type='RoutedExpertClsHead', routing=dict(top_choices=50, pos_weight=100.0)))
global_batch_size = 512
train_dataloader = dict(batch_size=512, sampler=dict(_delete_=True, type='ClassBalancedSampler'))
train_cfg = dict(max_epochs=5, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=5e-4))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=5, by_epoch=True)]
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=['.'], train=[r'^head\.router\.'], norm='frozen')]))
