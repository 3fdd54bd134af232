"""ResNet-50 with three experts, BN, RIDE's own form and recipe, iNaturalist 2018, 100 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_bn_ride3_inat18.py``

Top-1: 71.2 (RIDE's MODEL_ZOO.md; published, not re-run); 74.8
(Table III of the NBN paper, at a schedule that is not said; published, not re-run).
"""
_base_ = [
    '../_base_/models/resnet50_inat18.py',
    '../_base_/datasets/inat18.py',
    '../_base_/schedules/epochs_100_ride.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(
        type='MultiExpertBackbone', network='ResNet', num_experts=3, reduce_dimension=True),
    head=dict(
        type='MultiExpertClsHead',
        num_experts=3,
        in_channels=1536,
        predictor=dict(_delete_=True, type='CosineLinear', scale=30),
        loss=dict(
            _delete_=True,
            type='RIDELoss',
            base=dict(type='LDAMLoss', max_margin=0.5, scale=30),
            diversity_factor=-0.2,
            reweight_factor=0.015)))

optim_wrapper = dict(optimizer=dict(lr=0.2))
default_hooks = dict(stage=dict(type='StageHook', stages=[dict(begin=80, reweight=True)]))

val_evaluator = [
    dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric'), dict(type='ExpertAccuracyMetric')]
test_evaluator = val_evaluator
