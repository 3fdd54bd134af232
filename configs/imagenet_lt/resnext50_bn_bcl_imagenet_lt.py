"""ResNeXt-50 with BN, a cosine classifier and balanced contrastive learning (BCL) on ImageNet-LT.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_bn_bcl_imagenet_lt.py``

Top-1: 56.7 (Table II of the NBN paper; published, not re-run).
"""
_base_ = ['resnext50_bn_ce_imagenet_lt.py', '../_base_/datasets/bcl_views.py']

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
optim_wrapper = dict(optimizer=dict(lr=0.1))
