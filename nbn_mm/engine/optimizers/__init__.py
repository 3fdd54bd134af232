"""Optimiser wrapper constructors."""
