"""Puts ``tests/`` on the path for ``references``, and keeps Runners from leaking into other tests."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(autouse=True)
def restore_global_instances():
    """Drop the default scope, loggers and message hubs that a Runner leaves behind."""
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    managers = (DefaultScope, MessageHub, MMLogger)
    before = [manager._instance_dict.copy() for manager in managers]
    yield
    for manager, instances in zip(managers, before, strict=True):
        manager._instance_dict.clear()
        manager._instance_dict.update(instances)
