"""Long-tailed recognition for MMPretrain and MMDetection.

Importing the package registers its parts: host-neutral ones in mmengine's root registries, host parts in the
registries of the hosts that are installed. In a config: ``custom_imports = dict(imports=['nbn_mm'])``.
"""
from .version import __version__  # isort: skip
from .utils.versions import check_common_packages

check_common_packages()

from . import datasets, engine, evaluation, models  # noqa: E402
from .utils.hosts import register_host_parts  # noqa: E402

register_host_parts()

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models']
