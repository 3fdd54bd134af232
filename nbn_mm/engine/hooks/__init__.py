"""Hooks of long-tailed training."""
from .checkpoint_guard_hook import CheckpointGuardHook
from .class_counts_hook import ClassCountsHook
from .recompute_statistics_hook import RecomputeStatisticsHook, recompute_statistics

__all__ = ['CheckpointGuardHook', 'ClassCountsHook', 'RecomputeStatisticsHook', 'recompute_statistics']
