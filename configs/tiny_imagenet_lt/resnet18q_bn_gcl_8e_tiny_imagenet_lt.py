"""ResNet-18 of a quarter of the width with BN and GCL, 6 epochs of stage 1 and 2 of stage 2, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_gcl_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ce_8e_tiny_imagenet_lt.py'

model = dict(head=dict(
    predictor=dict(type='CosineLinear', scale=30), loss=dict(_delete_=True, type='GaussianCloudedLogitLoss', scale=30)))
# stage 2 from epoch 6: the classifier alone goes on, with balanced classes and without clouds
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=6, sampler=dict(type='ClassBalancedSampler', num_samples_per_class=4), freeze=[r'^backbone\.'],
         norm='frozen', set={'model.head.loss_module.noise_factor': 0.0})]))
# the learning rate starts anew for stage 2
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineRestartLR', eta_min=0.0, by_epoch=True, begin=1, end=8, periods=[5, 2], restart_weights=[1, 1],
         convert_to_iter_based=True),
]
