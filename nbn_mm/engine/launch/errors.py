"""Errors of a run that the tools print as one line."""


class LaunchError(ValueError):
    """A config file, an option or a machine on which a run cannot start; says what to change."""


class RunStopped(RuntimeError):
    """A run that was stopped on purpose, after it had started; says what to do."""
