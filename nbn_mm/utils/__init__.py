"""Host detection, version checks and shared errors."""
