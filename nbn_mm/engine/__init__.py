"""Hooks, optimiser constructors and the launch of runs."""
