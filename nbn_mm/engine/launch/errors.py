"""The error of a run that cannot start as it was asked for."""


class LaunchError(ValueError):
    """A config file, an option or a machine on which a run cannot start; says what to change."""
