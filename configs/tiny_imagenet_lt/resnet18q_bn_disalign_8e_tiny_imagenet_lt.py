"""ResNet-18 of a quarter of the width with BN and DisAlign, 6 + 2 epochs in one run, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_disalign_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ce_8e_tiny_imagenet_lt.py'

model = dict(
    head=dict(
        predictor=dict(type='DisAlignPredictor'),
        loss=dict(_delete_=True, type='GeneralizedReweightLoss', rho=1.2)))
default_hooks = dict(stage=dict(type='StageHook', stages=[
    # the calibration waits as the identity
    dict(begin=0, freeze=[r'^head\.fc\.(scale_offset|shift|confidence)'], needs_checkpoint=False),
    dict(begin=6, freeze=[r'^backbone\.', r'^head\.fc\.(weight|bias)$'], norm='frozen', reweight=True)]))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineRestartLR', periods=[5, 2], restart_weights=[1, 1], eta_min=0.0, by_epoch=True, begin=1, end=8,
         convert_to_iter_based=True),
]
