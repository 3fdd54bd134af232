"""Class-group evaluation: pure functions and registered metrics."""
