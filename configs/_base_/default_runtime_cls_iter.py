# The runtime of schedules that count iterations.
_base_ = 'default_runtime_cls.py'

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1000))
log_processor = dict(by_epoch=False)
