"""Optimiser wrapper constructors."""
from .nbn_optim_wrapper_constructor import NBNOptimWrapperConstructor

__all__ = ['NBNOptimWrapperConstructor']
