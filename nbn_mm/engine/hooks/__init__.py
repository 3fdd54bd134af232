"""Hooks of long-tailed training."""
