"""ResNeXt-50 with four experts, BN, RIDE's own form distilled from six experts, ImageNet-LT, 100 epochs.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_bn_ride4_distill_imagenet_lt.py``

Top-1: 56.8 (Table II of the NBN paper, whose figure is that of RIDE's distilled model; published, not re-run).
"""
_base_ = 'resnext50_bn_ride4_imagenet_lt.py'

model = dict(
    type='DistilledClassifier',
    teacher=dict(
        config='configs/imagenet_lt/resnext50_bn_ride6_imagenet_lt.py',
        checkpoint='work_dirs/resnext50_bn_ride6_imagenet_lt/epoch_100.pth'),
    # the published loss adds both terms once an expert
    head=dict(
        loss=dict(loss_weight=4.0), distillation=dict(type='DistillationLoss', temperature=1.5, loss_weight=4.0)))
