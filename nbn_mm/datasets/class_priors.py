"""Weights of classes from their counts, for losses and evaluation; layers know no data set and take them from utils."""
from ..utils.class_priors import IIF_KINDS, inverse_image_frequency

__all__ = ['IIF_KINDS', 'inverse_image_frequency']
