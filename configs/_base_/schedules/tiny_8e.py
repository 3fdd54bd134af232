# 8 epochs, learning rate 0.1 with a warm-up of one epoch and a cosine: a short schedule for a CPU.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8, val_interval=8)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4),
    constructor='NBNOptimWrapperConstructor',
    paramwise_cfg=dict(direction_decay_mult=1.0, magnitude_decay_mult=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=1, end=8, T_max=7, convert_to_iter_based=True),
]
