# 90 epochs at batch 128, learning rate 0.1 with a warm-up of five epochs and a cosine.
_base_ = 'tiny_8e.py'
train_cfg = dict(max_epochs=90, val_interval=10)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=5, end=90, T_max=85, convert_to_iter_based=True),
]
