"""Hooks of long-tailed training."""
from .checkpoint_guard_hook import CheckpointGuardHook
from .class_counts_hook import ClassCountsHook
from .finite_loss_hook import FiniteLossHook
from .nbn_start_hook import NBNStartHook, change_of_outputs
from .recompute_statistics_hook import RecomputeStatisticsHook, recompute_statistics

__all__ = [
    'CheckpointGuardHook', 'ClassCountsHook', 'FiniteLossHook', 'NBNStartHook', 'RecomputeStatisticsHook',
    'change_of_outputs', 'recompute_statistics'
]
