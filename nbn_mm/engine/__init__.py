"""Hooks, optimiser constructors and the launch of runs."""
from . import hooks, optimizers

__all__ = ['hooks', 'optimizers']
