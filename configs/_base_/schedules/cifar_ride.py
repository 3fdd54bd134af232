# RIDE on CIFAR: 200 epochs at batch 128, warm-up over five, a hundredth from epochs 160 and 180 on.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200, val_interval=20)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
    constructor='NBNOptimWrapperConstructor',
    paramwise_cfg=dict(direction_decay_mult=1.0, magnitude_decay_mult=1.0))
param_scheduler = [
    # epoch e of the first five at (e + 1) / 5
    dict(type='LinearLR', start_factor=0.2, by_epoch=True, begin=0, end=5),
    dict(type='MultiStepLR', milestones=[160, 180], gamma=0.01, by_epoch=True),
]
