"""What tools/train.py and tools/test.py call: a config file and the options of its host in, a finished run out."""
from .api import test, train
from .errors import LaunchError, RunStopped

__all__ = ['LaunchError', 'RunStopped', 'test', 'train']
