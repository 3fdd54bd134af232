"""The NBN entry point and backbones that the hosts lack."""
