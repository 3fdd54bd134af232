"""Class-balanced samplers."""
