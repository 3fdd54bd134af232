# The NBN paper's schedule of ImageNet-LT: 90 epochs, learning rate 0.2 at a total batch of 512, a cosine, no warm-up.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=90, val_interval=5)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=5e-4),
    constructor='NBNOptimWrapperConstructor',
    paramwise_cfg=dict(direction_decay_mult=1.0, magnitude_decay_mult=1.0))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=90, by_epoch=True, convert_to_iter_based=True)]
