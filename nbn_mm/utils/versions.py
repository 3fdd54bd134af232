"""What the package needs whichever host is there, checked once at import."""


def check_common_packages() -> None:
    """Raise one error that lists each missing common package and what to install."""
