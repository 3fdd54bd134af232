"""Optimiser wrappers and their constructors."""
from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .nbn_optim_wrapper_constructor import NBNOptimWrapperConstructor

__all__ = ['BFloat16OptimWrapper', 'NBNOptimWrapperConstructor']
