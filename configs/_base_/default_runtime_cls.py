# Runtime of every classification config: iteration- or epoch-based schedules set their own intervals.
default_scope = 'mmpretrain'
custom_imports = dict(imports=['nbn_mm'])

default_hooks = dict(
    # logged values leave the device when they are logged, not in each iteration
    runtime_info=dict(type='DeferredRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='VisualizationHook', enable=False),
    # counts of the training set, for losses and evaluators; kept in the checkpoint
    class_counts=dict(type='ClassCountsHook'),
    # seed and number of the next batch for data sets that live on the device
    device_data=dict(type='DeviceDataHook'),
    # refuses a checkpoint that does not belong to the model
    checkpoint_guard=dict(type='CheckpointGuardHook'))

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0, deterministic=False)
