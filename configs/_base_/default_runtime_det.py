# Runtime of detection configs that do not stand on a host's recipe.
_base_ = 'mmdet::_base_/default_runtime.py'
custom_imports = dict(imports=['nbn_mm'])

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(max_keep_ckpts=2),
    class_counts=dict(type='ClassCountsHook'),
    checkpoint_guard=dict(type='CheckpointGuardHook'),
    finite_loss=dict(type='FiniteLossHook'),
    nbn_start=dict(type='NBNStartHook'),
    log_history=dict(type='LogHistoryHook'))
log_processor = dict(window_size=10)
randomness = dict(seed=0, deterministic=False)
