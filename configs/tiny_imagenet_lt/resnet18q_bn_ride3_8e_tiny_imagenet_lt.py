"""ResNet-18 of a quarter of the width with three experts, BN, RIDE's own form, 8 epochs, Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_ride3_8e_tiny_imagenet_lt.py``

Re-weighting from epoch 6 of 8 on, as 80 of 100.
"""
_base_ = 'resnet18q_bn_ce_8e_tiny_imagenet_lt.py'

model = dict(
    backbone=dict(
        type='MultiExpertBackbone', network='ResNet', num_experts=3, reduce_dimension=True),
    head=dict(
        type='MultiExpertClsHead',
        num_experts=3,
        in_channels=96,
        predictor=dict(_delete_=True, type='CosineLinear', scale=30),
        loss=dict(
            _delete_=True,
            type='RIDELoss',
            base=dict(type='LDAMLoss', max_margin=0.5, scale=30),
            diversity_factor=-0.2,
            reweight_factor=0.02)))

default_hooks = dict(stage=dict(type='StageHook', stages=[dict(begin=6, reweight=True)]))

val_evaluator = dict(metrics=[
    dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric'), dict(type='ExpertAccuracyMetric')])
test_evaluator = val_evaluator
