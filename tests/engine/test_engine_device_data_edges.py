"""Data sets on the device at the edges of a resumed run, and where single images are needed."""
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from PIL import Image
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from nbn_mm.engine.hooks.device_data_hook import DeviceDataHook, _Rest
from nbn_mm.utils.hosts import host_error

needs_host = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')

if host_error('mmpretrain') is None:
    from device_classification import AUGMENT, device_config


@needs_host
def test_batches_that_the_loop_throws_away_stay_empty(tmp_path, monkeypatch):
    """mmengine 0.10.3 to 0.10.7 asks for all batches that are done; the next one is still that of its number."""
    from nbn_mm.datasets.transforms.batched import BatchedPipeline
    monkeypatch.delattr(_InfiniteDataloaderIterator, 'skip_iter', raising=False)
    applied = []
    apply = BatchedPipeline.apply
    monkeypatch.setattr(BatchedPipeline, 'apply', lambda *args: applied.append(1) or apply(*args))
    cfg = device_config(tmp_path, train_cfg=dict(type='IterBasedTrainLoop', max_iters=8), randomness=dict(seed=3))
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.experiment_name = f'thrown_away_{time.time()}'
    runner = Runner.from_cfg(cfg)
    loop = runner.train_loop
    loop._iter = 3
    DeviceDataHook().before_train_epoch(runner)
    for _ in range(3):
        assert not next(loop.dataloader_iterator)
    batch = next(loop.dataloader_iterator)
    images = loop.dataloader.dataset._data.images[batch['data_samples'].indices]
    assert torch.equal(batch['inputs'], BatchedPipeline(AUGMENT)(images, np.random.default_rng((0, 3, 0, 3))))
    assert len(applied) == 2  # this one, and the one that it is compared with


def test_an_epoch_that_was_saved_after_its_last_batch_has_no_rest():
    """10 images in batches of 4: the third has 2, and 12 indices are counted as done."""
    sampler = _Rest(SequentialSampler(range(10)), 12)
    loader = DataLoader(range(10), batch_sampler=BatchSampler(sampler, 4, drop_last=False))
    assert len(sampler) == len(loader) == 0 and list(loader) == []
    assert list(_Rest(SequentialSampler(range(10)), 8)) == [8, 9]


def test_the_inferencer_gets_the_pipeline_of_single_images(tmp_path, monkeypatch):
    """What stands in the pipeline of the wrapped data set, a resize say, is done to pictures, too."""
    from nbn_mm.engine import inference
    seen = []

    class Inferencer:

        def __init__(self, cfg, **kwargs):
            seen.append([step['type'] for step in cfg.test_dataloader.dataset.pipeline])
            self.model = nn.Linear(2, 2)

        def __call__(self, inputs, show_dir):
            return inputs

    monkeypatch.setitem(sys.modules, 'an_inferencer', SimpleNamespace(Inferencer=Inferencer))
    monkeypatch.setitem(inference.INFERENCERS, 'mmpretrain', ('an_inferencer', 'Inferencer'))
    torch.save(dict(state_dict=nn.Linear(2, 2).state_dict()), tmp_path / 'weights.pth')
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / 'a.png')
    inner = "dict(type='CustomDataset', pipeline=[dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=64)])"
    (tmp_path / 'config.py').write_text(
        "default_scope = 'mmpretrain'\n"
        f"test_dataloader = dict(dataset=dict(type='DeviceDataset', dataset={inner}, pipeline=[]))\n")
    names = [str(tmp_path / name) for name in ('config.py', 'weights.pth', 'a.png')]
    assert inference.infer(*names, out_dir=str(tmp_path), device='cpu') == names[2:]
    assert seen == [['LoadImageFromFile', 'ResizeEdge', 'PackInputs']]
