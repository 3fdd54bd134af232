"""ResNet-50 with BN and DisAlign on iNaturalist 2018: stage 2 from resnet50_bn_ce_inat18. The paper's released schedule
is that of ImageNet-LT, which stands here.

Train: ``python tools/train.py configs/inat18/resnet50_bn_disalign_stage2_inat18.py``

Top-1: 70.2 (Table III of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_bn_ce_inat18.py'

model = dict(
    head=dict(
        predictor=dict(type='DisAlignPredictor'),
        loss=dict(_delete_=True, type='GeneralizedReweightLoss', rho=1.2)))
load_from = 'work_dirs/resnet50_bn_ce_inat18/epoch_200.pth'
global_batch_size = 256
train_dataloader = dict(batch_size=256)
train_cfg = dict(max_epochs=10, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=10, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=[r'^backbone\.', r'^head\.fc\.(weight|bias)$'], norm='frozen')]))
