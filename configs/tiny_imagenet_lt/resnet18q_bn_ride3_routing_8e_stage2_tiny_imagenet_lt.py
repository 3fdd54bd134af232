"""Routing of the three experts of resnet18q_bn_ride3_8e, 2 epochs, Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_ride3_routing_8e_stage2_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ride3_8e_tiny_imagenet_lt.py'

load_from = 'work_dirs/resnet18q_bn_ride3_8e_tiny_imagenet_lt/epoch_8.pth'
model = dict(
    type='RoutedClassifier', head=dict(type='RoutedExpertClsHead', routing=dict(top_choices=10, pos_weight=20.0)))
train_cfg = dict(max_epochs=2, val_interval=2)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=2, by_epoch=True)]
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=['.'], train=[r'^head\.router\.'], norm='frozen')]))
