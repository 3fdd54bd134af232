# 13,000 iterations: 0.05 -> 0.1 over 800 warm-up iterations, then a cosine to 0, stepped per iteration.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=13000, val_interval=1000)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4),
    # decay of NBN's directions and magnitudes as separate settings, logged at the start
    constructor='NBNOptimWrapperConstructor',
    paramwise_cfg=dict(direction_decay_mult=1.0, magnitude_decay_mult=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=800),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=800, end=13000, T_max=12200),
]
