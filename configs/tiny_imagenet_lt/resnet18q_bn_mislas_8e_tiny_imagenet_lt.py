"""ResNet-18 of a quarter of the width with BN and MiSLAS, 6 + 2 epochs in one run, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_mislas_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ce_8e_tiny_imagenet_lt.py'

model = dict(
    data_preprocessor=dict(num_classes=200),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)),
    head=dict(
        predictor=dict(type='LearnableWeightScaling'),
        loss=dict(_delete_=True, type='LabelAwareSmoothingLoss', head=0.3, tail=0.0, active=False)))
default_hooks = dict(stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=[r'^head\.fc\.scales$'], needs_checkpoint=False),
    dict(begin=6, freeze=[r'^backbone\.'], norm='shifted',
         sampler=dict(type='ClassBalancedSampler', num_samples_per_class=4),
         set={'model.head.loss_module.active': True, 'model.data_preprocessor.batch_augments': None,
              'model.data_preprocessor.to_onehot': False})]))
# Stage 2: 0.1 for the scales, 0.05 of it for the classifier.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'head.fc.scales': dict(lr_mult=20)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineRestartLR', periods=[5, 2], restart_weights=[1, 0.05], eta_min=0.0, by_epoch=True, begin=1, end=8,
         convert_to_iter_based=True),
]
