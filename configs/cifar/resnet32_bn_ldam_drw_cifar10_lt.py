"""ResNet-32 with BN and LDAM-DRW on CIFAR-10-LT, imbalance factor 100, in LDAM-DRW's own recipe of 200 epochs.

Train: ``python tools/train.py configs/cifar/resnet32_bn_ldam_drw_cifar10_lt.py``

Top-1: no published figure in the NBN paper.
"""
_base_ = [
    '../_base_/models/resnet32_cifar.py',
    '../_base_/datasets/cifar10_lt.py',
    '../_base_/schedules/cifar_200e.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(head=dict(
    predictor=dict(type='CosineLinear', scale=30), loss=dict(_delete_=True, type='LDAMLoss', scale=30, beta=0.9999)))
default_hooks = dict(
    checkpoint=dict(interval=20),
    stage=dict(type='StageHook', stages=[dict(begin=160, reweight=True)]))

global_batch_size = 128
train_dataloader = dict(
    batch_size=128,
    drop_last=False,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=[
        dict(type='RandomCrop', crop_size=32, padding=4),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='PackInputs'),
    ]))
