"""ResNet-32 (4x wide) with three experts, BN, the NBN paper's form of RIDE, CIFAR-100-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32x4_bn_ride3_13k_cifar100_lt.py``

Linear classifiers, Balanced Softmax and the diversity term, at the recipe of the paper's other rows; which form and
recipe stand behind its RIDE row is not said.

Top-1: 57.3 (Table I of the NBN paper for 4x width; published, not re-run).
"""
_base_ = 'resnet32x4_bn_ce_cifar100_lt.py'

model = dict(
    backbone=dict(type='MultiExpertBackbone', network='CIFARResNet', num_experts=3),
    head=dict(
        type='MultiExpertClsHead',
        num_experts=3,
        loss=dict(
            _delete_=True, type='RIDELoss', base=dict(type='BalancedSoftmaxLoss'), diversity_factor=-0.2)))

val_evaluator = dict(metrics=[
    dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric'), dict(type='ExpertAccuracyMetric')])
test_evaluator = val_evaluator
