"""ResNet-18 of a quarter of the width with three experts, BN, the NBN paper's form of RIDE, 8 epochs, Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_ride3_linear_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ce_8e_tiny_imagenet_lt.py'

model = dict(
    backbone=dict(type='MultiExpertBackbone', network='ResNet', num_experts=3),
    head=dict(
        type='MultiExpertClsHead',
        num_experts=3,
        loss=dict(
            _delete_=True, type='RIDELoss', base=dict(type='BalancedSoftmaxLoss'), diversity_factor=-0.2)))

val_evaluator = dict(metrics=[
    dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric'), dict(type='ExpertAccuracyMetric')])
test_evaluator = val_evaluator
