"""Figures: data in, matplotlib figure out. Imported on demand, since matplotlib is slow to load."""
