"""ResNet-50 with BN and cRT on iNaturalist 2018: stage 2, 30 epochs, from resnet50_bn_ce_90e_inat18.

Train: ``python tools/train.py configs/inat18/resnet50_bn_crt_stage2_inat18.py``; after 200 epochs of stage 1 add
``--cfg-options load_from=work_dirs/resnet50_bn_ce_inat18/epoch_200.pth``.

Top-1: 65.2 (Table VIII of the NBN paper; published, not re-run).
Top-1: 68.2 (Table III of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_bn_ce_90e_inat18.py'

load_from = 'work_dirs/resnet50_bn_ce_90e_inat18/epoch_90.pth'
train_dataloader = dict(sampler=dict(_delete_=True, type='ClassBalancedSampler', num_samples_per_class=4))
train_cfg = dict(max_epochs=30, val_interval=10)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=30, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=[r'^backbone\.'], norm='frozen', reinit=['head.fc'])]))
