"""ResNet-50 with three experts, BN, the NBN paper's form of RIDE, 90 epochs, Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet50_bn_ride3_tiny_imagenet_lt.py``
"""
_base_ = [
    '../_base_/models/resnet50_tiny.py',
    '../_base_/datasets/tiny_imagenet_lt.py',
    '../_base_/schedules/tiny_90e.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(type='MultiExpertBackbone', network='ResNet_CIFAR', num_experts=3),
    head=dict(
        type='MultiExpertClsHead',
        num_experts=3,
        loss=dict(
            _delete_=True, type='RIDELoss', base=dict(type='BalancedSoftmaxLoss'), diversity_factor=-0.2)))

val_evaluator = dict(metrics=[
    dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric'), dict(type='ExpertAccuracyMetric')])
test_evaluator = val_evaluator
