"""ResNet-18 of a quarter of the width with BN, weight decay and MaxNorm (LTR weight balancing), 6 + 2 epochs in one
run, on Tiny-ImageNet-LT. The weight decay of stage 1 is not tuned.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_ltrwd_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ce_8e_tiny_imagenet_lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='ClassBalancedLoss', beta=0.9999)))
default_hooks = dict(
    stage=dict(type='StageHook', stages=[
        dict(begin=6, freeze=[r'^backbone\.'], norm='shifted', reweight=True)]),
    max_norm=dict(type='MaxNormHook', fraction=0.1, begin=6, weight_decay=0.1))
optim_wrapper = dict(optimizer=dict(weight_decay=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineRestartLR', periods=[5, 2], restart_weights=[1, 0.1], eta_min=0.0, by_epoch=True, begin=1, end=8,
         convert_to_iter_based=True),
]
