"""The run of ``tiny_classification`` with its data set on the device, and what its batches were."""
import copy

from mmengine.hooks import Hook
from tiny_classification import config

AUGMENT = [dict(type='RandomCrop', crop_size=8, padding=2), dict(type='RandomFlip', prob=0.5),
           dict(type='CIFARAutoAugment'), dict(type='CIFARCutout', size=4), dict(type='PackInputs')]
PLAIN = [dict(type='PackInputs')]


class Batches(Hook):
    """Notes each training batch with its iteration."""
    priority = 'VERY_LOW'

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        samples = data_batch['data_samples']
        self.seen.append((runner.iter, data_batch['inputs'].clone(), list(samples.indices), samples.gt_label.clone()))


def on_device(loader, pipeline):
    """The loader's config with its data set in a DeviceDataset."""
    loader = copy.deepcopy(dict(loader))
    inner = dict(loader['dataset'])
    inner.pop('pipeline', None)
    loader.update(collate_fn=dict(type='device_collate'),
                  dataset=dict(type='DeviceDataset', dataset=inner, pipeline=copy.deepcopy(pipeline)))
    return loader


def device_config(work_dir, pipeline=AUGMENT, preprocessor='BatchClsDataPreprocessor', val=False, hooks=None,
                  evaluator='BatchEvaluator', **kwargs):
    """:func:`tiny_classification.config` with training, validation and test set on the device."""
    hooks = dict(dict(device_data=dict(type='DeviceDataHook')), **(hooks or {}))
    cfg = config(work_dir, hooks=hooks, **kwargs)
    cfg.train_dataloader = on_device(cfg.train_dataloader, pipeline)
    cfg.val_dataloader, cfg.test_dataloader = (on_device(cfg[f'{name}_dataloader'], PLAIN) for name in ('val', 'test'))
    if not val:
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    elif evaluator is not None:
        for name in ('val', 'test'):
            metrics = cfg[f'{name}_evaluator']
            cfg[f'{name}_evaluator'] = dict(type=evaluator, metrics=metrics if isinstance(metrics, list) else [metrics])
    cfg.model.data_preprocessor.type = preprocessor
    return cfg
