"""ResNet-50 with BN and LTR weight balancing on iNaturalist 2018: stage 2, MaxNorm and weight decay of the classifier,
10 epochs, from resnet50_bn_ltrwd_inat18. Rate, decay and radius are those of the authors' code for CIFAR-100-LT.

Train: ``python tools/train.py configs/inat18/resnet50_bn_ltrwd_stage2_inat18.py``

Top-1: 70.2 (Table III of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_bn_ltrwd_inat18.py'

model = dict(head=dict(loss=dict(_delete_=True, type='ClassBalancedLoss', beta=0.9999)))
load_from = 'work_dirs/resnet50_bn_ltrwd_inat18/epoch_200.pth'
train_cfg = dict(max_epochs=10, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=0.1))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=10, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(
    stage=dict(type='StageHook', stages=[dict(begin=0, freeze=[r'^backbone\.'], norm='shifted')]),
    max_norm=dict(type='MaxNormHook', fraction=0.1))
