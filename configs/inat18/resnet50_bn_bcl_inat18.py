"""ResNet-50 with BN, a cosine classifier and balanced contrastive learning (BCL) on iNaturalist 2018, 100 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_bn_bcl_inat18.py``

Top-1: 71.7 (Table III of the NBN paper; published, not re-run).
"""
_base_ = ['resnet50_bn_ce_inat18.py', '../_base_/datasets/bcl_views.py']

model = dict(
    data_preprocessor=dict(type='MultiViewClsDataPreprocessor'),
    head=dict(
        type='BalancedContrastiveHead',
        predictor=dict(type='CosineLinear', scale=30.0),
        loss=dict(_delete_=True, type='LogitAdjustmentLoss', tau=1.0),
        contrast=dict(type='BalancedContrastiveLoss', temperature=0.07, loss_weight=0.35),
        hidden_channels=2048,
        out_channels=1024))
global_batch_size = 256
train_dataloader = dict(batch_size=256, dataset=dict(pipeline={{_base_.bcl_pipeline}}))
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
train_cfg = dict(max_epochs=100)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=100, by_epoch=True, convert_to_iter_based=True)]
