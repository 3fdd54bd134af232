# 30 epochs from ImageNet's weights, learning rate 0.01 at a total batch of 256, a cosine: ours, no paper states it.
_base_ = 'epochs_90.py'
train_cfg = dict(max_epochs=30, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=30, by_epoch=True, convert_to_iter_based=True)]
