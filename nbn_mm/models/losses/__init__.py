"""Long-tail losses: in each file a function, then a registered class on it."""
