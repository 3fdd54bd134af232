"""Puts ``tests/`` on the path for ``references``, and keeps Runners from leaking into other tests."""
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@contextmanager
def global_instances_restored():
    """Drop the default scope, loggers and message hubs that a Runner leaves behind."""
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    managers = (DefaultScope, MessageHub, MMLogger)
    before = [manager._instance_dict.copy() for manager in managers]
    yield
    for manager, instances in zip(managers, before, strict=True):
        manager._instance_dict.clear()
        manager._instance_dict.update(instances)


@pytest.fixture(autouse=True, scope='module')
def restore_after_module():
    """For the Runners of fixtures that a module's tests share."""
    with global_instances_restored():
        yield


@pytest.fixture(autouse=True)
def restore_after_test():
    """For the Runners of a test."""
    with global_instances_restored():
        yield
