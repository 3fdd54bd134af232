# 200 epochs, otherwise as epochs_90.py.
_base_ = 'epochs_90.py'
train_cfg = dict(max_epochs=200)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=200, by_epoch=True, convert_to_iter_based=True)]
