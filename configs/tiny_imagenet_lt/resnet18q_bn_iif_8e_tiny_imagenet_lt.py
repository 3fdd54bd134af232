"""ResNet-18 of a quarter of the width with BN, a cosine classifier and IIF, 6 + 2 epochs in one run, Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_iif_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ce_8e_tiny_imagenet_lt.py'

model = dict(
    head=dict(predictor=dict(type='InverseFrequencyCosineLinear', scale=16.0, kind='smooth', active=False)))
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=6, freeze=[r'^backbone\.'], norm='shifted', set={'model.head.fc.active': True})]))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineRestartLR', periods=[5, 2], restart_weights=[1, 0.001], eta_min=0.0, by_epoch=True, begin=1, end=8,
         convert_to_iter_based=True),
]
