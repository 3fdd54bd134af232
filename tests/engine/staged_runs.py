"""Short runs with a StageHook: epochs of 5 batches, or iterations, on images in memory or on the device."""
import copy
import time

import torch
from device_classification import device_config
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tiny_classification import config

CRT = dict(sampler=dict(type='ClassBalancedSampler', num_samples_per_class=4), freeze=[r'^backbone\.'], norm='frozen',
           reinit=['head.fc'])
NBN = dict(type='NBNBackbone', base='CIFARResNet', depth=8, nbn=dict(placement='paper', zero_bias='smooth'))
LINEAR = dict(type='LongTailClsHead', num_classes=3, in_channels=64, topk=(1, ),
              predictor=dict(type='Linear'), loss=dict(type='CrossEntropyLoss'))
number = 0


class Seen(Hook):
    """Notes of every iteration: number, labels, learning rate and the magnitude, and a copy of the weights at some."""
    priority = 'VERY_LOW'

    def __init__(self, copies=()):
        self.labels, self.rates, self.weights, self.copies = {}, {}, {}, copies

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        samples = data_batch['data_samples']
        labels = samples.gt_label if hasattr(samples, 'indices') else torch.cat([s.gt_label for s in samples])
        self.labels[runner.iter] = labels.tolist()
        self.rates[runner.iter] = runner.optim_wrapper.get_lr()['lr'][0]
        if runner.iter in self.copies:
            self.weights[runner.iter] = weights(runner)


def stage_config(work_dir, stages, epochs=4, device=False, iterations=None, hooks=None, backbone=None, head=LINEAR,
                 **top):
    """A config with a StageHook; a checkpoint after each iteration or, without ``iterations``, each epoch."""
    hooks = dict(stage=dict(type='StageHook', stages=stages), **(hooks or {}))
    hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1, by_epoch=iterations is None))
    cfg = (device_config if device else config)(work_dir, epochs=epochs, hooks=hooks)
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    if iterations is not None:
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=100)
        cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    if backbone is not None:
        cfg.model.backbone = copy.deepcopy(backbone)
    cfg.model.head = copy.deepcopy(head)
    cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.01),
                             constructor='NBNOptimWrapperConstructor')
    for key, value in top.items():
        cfg[key] = value
    return cfg


def run(cfg, *hooks, train=True, **changes):
    """A Runner under a name of its own, after training."""
    global number
    number += 1
    cfg = Config(copy.deepcopy(cfg.to_dict()))
    cfg.merge_from_dict(changes)
    cfg.experiment_name = f'stage_{number}_{time.time()}'
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    if train:
        runner.train()
    return runner


def weights(runner):
    """A copy of the model's state dict."""
    return {key: value.clone() for key, value in runner.model.state_dict().items()}


def changed(before, after):
    """Keys whose tensors differ in any bit."""
    assert before.keys() == after.keys()
    return {key for key, value in after.items() if not torch.equal(before[key], value)}


def loaded(path):
    """The checkpoint of a file."""
    return torch.load(path, map_location='cpu', weights_only=False)
