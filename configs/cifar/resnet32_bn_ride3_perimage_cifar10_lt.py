"""ResNet-32 with three experts, BN, RIDE's own form and recipe, CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_bn_ride3_perimage_cifar10_lt.py``

Rotation has no batched form, so that images are read and augmented one by one. Full width and learning rate 0.05,
as its authors advise for CIFAR-10.
"""
_base_ = [
    '../_base_/models/resnet32_cifar.py',
    '../_base_/datasets/cifar10_lt_ride.py',
    '../_base_/schedules/cifar_ride.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(type='MultiExpertBackbone', network='CIFARResNet', num_experts=3),
    head=dict(
        type='MultiExpertClsHead',
        num_experts=3,
        in_channels=64,
        predictor=dict(_delete_=True, type='CosineLinear', scale=30),
        loss=dict(
            _delete_=True,
            type='RIDELoss',
            base=dict(type='LDAMLoss', max_margin=0.5, scale=30),
            diversity_factor=-0.45,
            reweight_factor=0.05)))

val_evaluator = dict(metrics=[
    dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric'), dict(type='ExpertAccuracyMetric')])
test_evaluator = val_evaluator

default_hooks = dict(
    checkpoint=dict(interval=20), stage=dict(type='StageHook', stages=[dict(begin=160, reweight=True)]))
optim_wrapper = dict(optimizer=dict(lr=0.05))
