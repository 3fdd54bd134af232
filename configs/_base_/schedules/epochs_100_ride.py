# RIDE on ImageNet-LT and iNaturalist 2018: 100 epochs, warm-up over five, a tenth from epochs 60 and 80 on.
_base_ = 'epochs_100.py'
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=2e-4, nesterov=True))
param_scheduler = [
    # epoch e of the first five at (e + 1) / 5
    dict(type='LinearLR', start_factor=0.2, by_epoch=True, begin=0, end=5),
    dict(type='MultiStepLR', milestones=[60, 80], gamma=0.1, by_epoch=True),
]
