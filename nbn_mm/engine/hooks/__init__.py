"""Hooks of long-tailed training."""
from .checkpoint_guard_hook import CheckpointGuardHook
from .class_counts_hook import ClassCountsHook
from .compound_bn_hook import CompoundBNHook
from .deferred_runtime_info_hook import DeferredRuntimeInfoHook, DeferredScalars
from .device_data_hook import DeviceDataHook
from .finite_loss_hook import FiniteLossHook
from .log_history_hook import LogHistoryHook
from .max_norm_hook import MaxNormHook
from .mixing_window_hook import MixingWindowHook
from .nbn_start_hook import NBNStartHook, change_of_outputs
from .recompute_statistics_hook import RecomputeStatisticsHook, recompute_statistics
from .speed_hook import SpeedHook
from .stage_hook import StageHook

__all__ = [
    'CheckpointGuardHook', 'ClassCountsHook', 'CompoundBNHook', 'DeferredRuntimeInfoHook', 'DeferredScalars',
    'DeviceDataHook', 'FiniteLossHook', 'LogHistoryHook', 'MaxNormHook', 'MixingWindowHook', 'NBNStartHook',
    'RecomputeStatisticsHook', 'SpeedHook', 'StageHook', 'change_of_outputs', 'recompute_statistics'
]
