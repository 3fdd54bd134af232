"""ResNeXt-50 with four experts, BN, RIDE's own form and recipe, ImageNet-LT, 100 epochs.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_bn_ride4_imagenet_lt.py``
"""
_base_ = [
    '../_base_/models/resnext50.py',
    '../_base_/datasets/imagenet_lt.py',
    '../_base_/schedules/epochs_100_ride.py',
    '../_base_/default_runtime_cls_selected.py',
]

model = dict(
    backbone=dict(
        type='MultiExpertBackbone', network='ResNeXt', num_experts=4, reduce_dimension=True),
    head=dict(
        type='MultiExpertClsHead',
        num_experts=4,
        in_channels=1536,
        predictor=dict(_delete_=True, type='CosineLinear', scale=30),
        loss=dict(
            _delete_=True,
            type='RIDELoss',
            base=dict(type='LDAMLoss', max_margin=0.5, scale=30),
            diversity_factor=-0.2,
            reweight_factor=0.02)))

global_batch_size = 256
train_dataloader = dict(batch_size=256)
default_hooks = dict(stage=dict(type='StageHook', stages=[dict(begin=80, reweight=True)]))

val_evaluator = [
    dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric'), dict(type='ExpertAccuracyMetric')]
test_evaluator = val_evaluator
