"""ResNet-32, three experts, NBN + LR, the NBN paper's form of RIDE in RIDE's recipe, CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_nbn_lr_ride3_perimage_cifar10_lt.py``

RIDE's own loss has an additive margin and a scaled cosine, which logit rectification can't stand behind: Balanced
Softmax, linear classifiers and no deferred weights take their place. Whether Table I's RIDE rows are of this recipe or
of the other rows' (resnet32_nbn_lr_ride3_13k_cifar10_lt) is not said.
"""
_base_ = [
    '../_base_/models/resnet32_cifar.py',
    '../_base_/datasets/cifar10_lt_ride.py',
    '../_base_/schedules/cifar_ride.py',
    '../_base_/default_runtime_cls.py',
]

# all batch norms of the last stage, one magnitude an expert
model = dict(
    backbone=dict(
        type='NBNBackbone',
        base='MultiExpertBackbone',
        network='CIFARResNet',
        num_experts=3,
        nbn=dict(placement='A', share=r'experts\.(\d+)\.')),
    head=dict(
        type='MultiExpertClsHead',
        num_experts=3,
        in_channels=64,
        predictor=dict(type='RectifiedPredictor', base='Linear'),
        loss=dict(
            _delete_=True, type='RIDELoss', base=dict(type='BalancedSoftmaxLoss'), diversity_factor=-0.2)))

val_evaluator = dict(metrics=[
    dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric'), dict(type='ExpertAccuracyMetric')])
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=dict(interval=20))
optim_wrapper = dict(optimizer=dict(lr=0.05))
