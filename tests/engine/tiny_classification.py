"""A classification run on a few random images in memory: mmpretrain's parts in mmengine's Runner."""
import copy

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.registry import DATASETS, METRICS
from mmengine.runner import Runner

COUNTS = (24, 9, 3)


@DATASETS.register_module(force=True)
class TinyLongTail(BaseDataset):
    """Random images of 8x8 pixels with ``counts`` images per class."""

    def __init__(self, counts=COUNTS, classes=('cat', 'dog', 'eel'), offset=0, pipeline=(), **kwargs):
        self.counts = counts
        self.offset = offset
        super().__init__(metainfo=dict(classes=list(classes)), pipeline=list(pipeline), **kwargs)

    def load_data_list(self):
        random = np.random.RandomState(self.offset)
        labels = np.repeat(np.arange(len(self.counts)), self.counts)
        return [dict(img=random.randint(0, 255, (8, 8, 3)).astype(np.uint8), gt_label=int(label)) for label in labels]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)['gt_label']]


@METRICS.register_module(force=True)
class CountTakingMetric(BaseMetric):
    """Notes the counts that it has at the time of evaluation."""
    default_prefix = 'counts'

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.record = None

    def set_class_counts(self, record):
        self.record = record

    def process(self, data_batch, data_samples):
        self.results.append(len(data_samples))

    def compute_metrics(self, results):
        return dict(images=sum(self.record.images))


def config(work_dir, epochs=2, counts=COUNTS, head=None, hooks=None, metric='CountTakingMetric', **top):
    """Config of a run with Balanced Softmax behind logit rectification; ``top`` replaces top-level keys."""
    loader = dict(batch_size=8, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
                  collate_fn=dict(type='default_collate'))
    train_set = dict(type='TinyLongTail', counts=counts, pipeline=[dict(type='PackInputs')])
    test_set = dict(type='TinyLongTail', counts=(4, 4, 4), offset=1, pipeline=[dict(type='PackInputs')])
    test_loader = dict(loader, sampler=dict(type='DefaultSampler', shuffle=False), dataset=test_set)
    cfg = dict(
        default_scope='mmpretrain',
        custom_imports=dict(imports=['nbn_mm']),
        work_dir=str(work_dir),
        model=dict(
            type='ImageClassifier',
            data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
            backbone=dict(type='CIFARResNet', depth=8),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LongTailClsHead', num_classes=3, in_channels=64, topk=(1, ),
                predictor=dict(type='RectifiedPredictor', base='Linear'),
                loss=dict(type='BalancedSoftmaxLoss'))),
        train_dataloader=dict(loader, dataset=train_set),
        val_dataloader=test_loader,
        test_dataloader=copy.deepcopy(test_loader),
        val_evaluator=dict(type=metric),
        test_evaluator=dict(type=metric),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        val_cfg=dict(), test_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        default_hooks=dict(class_counts=dict(type='ClassCountsHook')),
        randomness=dict(seed=0),
        log_level='WARNING')
    cfg['model']['head'].update(head or {})
    cfg['default_hooks'].update(hooks or {})
    cfg.update(top)
    return Config(cfg)


def runner(*args, **kwargs):
    """A Runner of :func:`config`, under a name of its own (mmengine keeps runners by name)."""
    runner.number += 1
    cfg = config(*args, **kwargs)
    cfg.experiment_name = f'tiny_{runner.number}'
    return Runner.from_cfg(cfg)


runner.number = 0


def messages(run):
    """What the run logs at INFO from here on, as a list that grows."""
    import logging
    found = []

    class Collect(logging.Handler):

        def emit(self, record):
            found.append(record.getMessage())

    run.logger.setLevel(logging.INFO)
    run.logger.addHandler(Collect())
    return found


def training_set(run):
    """All training images and labels, in the order of the data set, preprocessed."""
    dataset = run.train_dataloader.dataset
    images = torch.stack([dataset[i]['inputs'] for i in range(len(dataset))])
    data = run.model.data_preprocessor(dict(inputs=images, data_samples=None), False)
    return data['inputs']
