"""ResNeXt-50 with BN and cRT on ImageNet-LT: stage 2, 10 epochs, from resnext50_bn_ce_imagenet_lt.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_bn_crt_stage2_imagenet_lt.py``

Top-1: 49.6 (Table II of the NBN paper; published, not re-run).
"""
_base_ = 'resnext50_bn_ce_imagenet_lt.py'

load_from = 'work_dirs/resnext50_bn_ce_imagenet_lt/epoch_90.pth'
# an epoch of the released sampler: the largest class times the number of classes
train_dataloader = dict(sampler=dict(
    _delete_=True, type='ClassBalancedSampler', num_samples_per_class=4, epoch_length=1280 * 1000))
train_cfg = dict(max_epochs=10, val_interval=10)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=10, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=[r'^backbone\.'], norm='frozen', reinit=['head.fc'])]))
