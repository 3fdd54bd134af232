# 60 epochs with a cosine: a minute or less on a CPU.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=60, val_interval=10)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4),
    constructor='NBNOptimWrapperConstructor',
    paramwise_cfg=dict(direction_decay_mult=1.0, magnitude_decay_mult=1.0))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=60, by_epoch=True, convert_to_iter_based=True)]
