# The runtime of schedules that count iterations.
_base_ = 'default_runtime_cls.py'

default_hooks = dict(
    # mmengine logs evaluations under the epoch, which an iteration-based loop leaves at 0
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=1000))
log_processor = dict(by_epoch=False)
