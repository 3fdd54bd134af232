"""ResNet-50 with BN and MiSLAS on ImageNet-LT: stage 1, mixup, 180 epochs.

Train: ``python tools/train.py configs/imagenet_lt/resnet50_bn_mislas_imagenet_lt.py``
"""
_base_ = 'resnet50_bn_ce_imagenet_lt.py'

model = dict(
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)),
    head=dict(loss=dict(use_soft=True)))
global_batch_size = 256
train_dataloader = dict(batch_size=256)
train_cfg = dict(max_epochs=180)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=180, by_epoch=True, convert_to_iter_based=True)]
