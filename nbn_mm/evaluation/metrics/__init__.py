"""Registered metrics, thin classes on the functions."""
