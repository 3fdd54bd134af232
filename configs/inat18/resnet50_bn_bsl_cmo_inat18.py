"""ResNet-50 with BN, Balanced Softmax and CMO on iNaturalist 2018: the 100 epochs of the authors of CMO.

Train: ``python tools/train.py configs/inat18/resnet50_bn_bsl_cmo_inat18.py``

Top-1: 70.9 (Table III of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_bn_ce_inat18.py'

model = dict(head=dict(loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
global_batch_size = 256
train_dataloader = dict(
    batch_size=256,
    dataset=dict(
        _delete_=True,
        type='CMODataset',
        prob=0.5,
        alpha=1.0,
        power=1.0,
        dataset=dict(
            type={{_base_.dataset_type}},
            data_root={{_base_.data_root}},
            split='train',
            pipeline={{_base_.train_pipeline}})))
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=2e-4))
train_cfg = dict(max_epochs=100)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.2, by_epoch=True, begin=0, end=5),
    dict(type='MultiStepLR', milestones=[75], gamma=0.1, by_epoch=True),
]
default_hooks = dict(mixing_window=dict(type='MixingWindowHook', skip_first=3, skip_last=3))
