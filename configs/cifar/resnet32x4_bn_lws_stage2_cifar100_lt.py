"""ResNet-32 (4x wide) with BN and LWS on CIFAR-100-LT, imbalance factor 100: stage 2 from resnet32x4_bn_ce_cifar100_lt.

Train: ``python tools/train.py configs/cifar/resnet32x4_bn_lws_stage2_cifar100_lt.py``

Top-1: 53.3 (Table I of the NBN paper for 4x width; published, not re-run).
"""
_base_ = 'resnet32x4_bn_ce_cifar100_lt.py'

model = dict(head=dict(predictor=dict(type='LearnableWeightScaling')))
load_from = 'work_dirs/resnet32x4_bn_ce_cifar100_lt/iter_13000.pth'
train_dataloader = dict(sampler=dict(
    _delete_=True, type='ClassBalancedSampler', num_samples_per_class=4, infinite=True))
train_cfg = dict(max_iters=1000)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=0, end=1000, T_max=1000)]
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, by_epoch=False, freeze=[r'^backbone\.', r'^head\.fc\.(weight|bias)'], norm='frozen')]))
