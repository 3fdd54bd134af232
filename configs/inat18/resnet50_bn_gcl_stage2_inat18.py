"""ResNet-50 with BN and GCL on iNaturalist 2018: stage 2, the classifier goes on with balanced classes, 30 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_bn_gcl_stage2_inat18.py``

Top-1: 71.0 (Table III of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_bn_gcl_inat18.py'

model = dict(head=dict(loss=dict(_delete_=True, type='CrossEntropyLoss')))
load_from = 'work_dirs/resnet50_bn_gcl_inat18/epoch_200.pth'
train_dataloader = dict(sampler=dict(_delete_=True, type='ClassBalancedSampler', num_samples_per_class=4))
train_cfg = dict(max_epochs=30, val_interval=10)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=30, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(stage=dict(type='StageHook', stages=[dict(begin=0, freeze=[r'^backbone\.'], norm='frozen')]))
