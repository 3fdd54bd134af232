"""ResNet-50 with BN and MiSLAS on iNaturalist 2018: stage 1, mixup, 200 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_bn_mislas_inat18.py``
"""
_base_ = 'resnet50_bn_ce_inat18.py'

model = dict(
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)),
    head=dict(loss=dict(use_soft=True)))
global_batch_size = 256
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=1e-4))
