"""ResNet-50 with BN and LWS on ImageNet-LT: stage 2, 5 epochs, from resnet50_bn_ce_imagenet_lt.

Train: ``python tools/train.py configs/imagenet_lt/resnet50_bn_lws_stage2_imagenet_lt.py``
"""
_base_ = 'resnet50_bn_ce_imagenet_lt.py'

model = dict(head=dict(predictor=dict(type='LearnableWeightScaling')))
load_from = 'work_dirs/resnet50_bn_ce_imagenet_lt/epoch_90.pth'
# an epoch of the released sampler: the largest class times the number of classes
train_dataloader = dict(sampler=dict(
    _delete_=True, type='ClassBalancedSampler', num_samples_per_class=4, epoch_length=1280 * 1000))
train_cfg = dict(max_epochs=5, val_interval=5)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=5, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=[r'^backbone\.', r'^head\.fc\.(weight|bias)'], norm='frozen')]))
