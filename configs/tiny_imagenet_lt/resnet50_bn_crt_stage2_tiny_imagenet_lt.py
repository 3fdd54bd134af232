"""ResNet-50 with BN and cRT on Tiny-ImageNet-LT: stage 2, 10 epochs, from resnet50_bn_ce_tiny_imagenet_lt.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet50_bn_crt_stage2_tiny_imagenet_lt.py``
"""
_base_ = 'resnet50_bn_ce_tiny_imagenet_lt.py'

load_from = 'work_dirs/resnet50_bn_ce_tiny_imagenet_lt/epoch_90.pth'
train_dataloader = dict(sampler=dict(_delete_=True, type='ClassBalancedSampler', num_samples_per_class=4))
train_cfg = dict(max_epochs=10, val_interval=10)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=10, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=[r'^backbone\.'], norm='frozen', reinit=['head.fc'])]))
