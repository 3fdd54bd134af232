# Runtime of the sets with a validation list of their own: the epoch that is best on it is kept and then tested.
_base_ = 'default_runtime_cls.py'

default_hooks = dict(checkpoint=dict(save_best='shot/all_top1', rule='greater'))
