"""Hooks of long-tailed training."""
from .checkpoint_guard_hook import CheckpointGuardHook
from .class_counts_hook import ClassCountsHook
from .deferred_runtime_info_hook import DeferredRuntimeInfoHook, DeferredScalars
from .device_data_hook import DeviceDataHook
from .finite_loss_hook import FiniteLossHook
from .log_history_hook import LogHistoryHook
from .nbn_start_hook import NBNStartHook, change_of_outputs
from .recompute_statistics_hook import RecomputeStatisticsHook, recompute_statistics
from .speed_hook import SpeedHook

__all__ = [
    'CheckpointGuardHook', 'ClassCountsHook', 'DeferredRuntimeInfoHook', 'DeferredScalars', 'DeviceDataHook',
    'FiniteLossHook', 'LogHistoryHook', 'NBNStartHook', 'RecomputeStatisticsHook', 'SpeedHook', 'change_of_outputs',
    'recompute_statistics'
]
