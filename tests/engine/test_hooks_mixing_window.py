"""CMO within a window of epochs or iterations, in runs image by image and on the device, resumed ones too."""
from pathlib import Path

import pytest
from device_classification import device_config
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tiny_classification import config

from nbn_mm.engine.hooks import MixingWindowHook
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')
ROOT = Path(__file__).resolve().parents[2]
BATCHES = 5  # of 8 among 36 images


class Mixed(Hook):
    """Notes whether each training batch is mixed."""
    priority = 'VERY_LOW'

    def __init__(self):
        self.seen = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen[runner.iter] = 'gt_score' in data_batch['data_samples'][0]


def run(tmp_path, name, device=False, epochs=4, window=None, **top):
    window = dict(type='MixingWindowHook', skip_first=1, skip_last=1) | (window or {})
    make = device_config if device else config
    cfg = make(tmp_path, epochs=epochs, hooks=dict(mixing_window=window), **top)
    if device:
        cfg.train_dataloader.dataset.cmo = dict(prob=1.0)
    else:
        cfg.train_dataloader.dataset = dict(type='CMODataset', prob=1.0, dataset=cfg.train_dataloader.dataset)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.experiment_name = f'mixing_{name}'
    made, mixed = Runner.from_cfg(cfg), Mixed()
    made.register_hook(mixed)
    return made, mixed.seen


@pytest.mark.parametrize('device', [False, True])
def test_the_first_and_last_epochs_are_not_mixed(tmp_path, device):
    made, seen = run(tmp_path, f'epochs_{device}', device)
    made.train()
    assert seen == {i: BATCHES <= i < 3 * BATCHES for i in range(4 * BATCHES)}
    assert made.message_hub.get_scalar('train/loss').current() < 5


def test_a_resumed_run_goes_on_as_it_would_have(tmp_path):
    made, _ = run(tmp_path, 'first', epochs=4)
    made.train_loop._max_epochs = 3
    made.train()
    made, seen = run(tmp_path, 'resumed', epochs=4, resume=True)
    made.train()
    assert seen == {i: False for i in range(3 * BATCHES, 4 * BATCHES)}
    made, seen = run(tmp_path, 'longer', epochs=6, load_from=str(tmp_path / 'epoch_3.pth'), resume=True)
    made.train()
    assert seen == {i: i < 5 * BATCHES for i in range(3 * BATCHES, 6 * BATCHES)}


def test_workers_follow_epochs(tmp_path):
    made, _ = run(tmp_path, 'workers', epochs=3)
    loader = dict(made.cfg.train_dataloader, num_workers=1, persistent_workers=True)
    made, seen = run(tmp_path, 'workers_1', epochs=3, train_dataloader=dict(loader, dataset=loader['dataset'].dataset))
    made.train()
    assert seen == {i: BATCHES <= i < 2 * BATCHES for i in range(3 * BATCHES)}


@pytest.mark.parametrize('device', [False, True])
def test_iterations(tmp_path, device):
    made, seen = run(tmp_path, f'iterations_{device}', device, window=dict(by_epoch=False, skip_first=2, skip_last=3),
                     train_cfg=dict(type='IterBasedTrainLoop', max_iters=9, val_interval=9))
    made.train()
    assert seen == {i: 2 <= i < 6 for i in range(9)}


def test_bad_input(tmp_path):
    for options in (dict(skip_first=-1), dict(skip_last=1.5)):
        with pytest.raises(ValueError, match='must be an integer of at least 0'):
            MixingWindowHook(**options)
    with pytest.raises(ValueError, match='leave none of the 4 epochs'):
        run(tmp_path, 'none', window=dict(skip_first=2, skip_last=2))[0].train()
    with pytest.raises(ValueError, match='IterBasedTrainLoop has no epochs'):
        run(tmp_path, 'no_epochs', train_cfg=dict(type='IterBasedTrainLoop', max_iters=9, val_interval=9))[0].train()
    made, _ = run(tmp_path, 'plain')
    made.train_loop.dataloader.dataset.__class__ = type('Plain', (), {'__len__': lambda self: 36})
    with pytest.raises(ValueError, match='Plain, the data set of train_dataloader, mixes no images'):
        MixingWindowHook(1, 1).before_train(made)
    loader = dict(made.cfg.train_dataloader, num_workers=1)
    made, _ = run(tmp_path, 'ahead', window=dict(by_epoch=False),
                  train_dataloader=dict(loader, dataset=loader['dataset'].dataset))
    with pytest.raises(ValueError, match='num_workers=1, which prepare batches ahead'):
        made.train()


@pytest.mark.parametrize('device', [False, True])
def test_cmo_trains_on_digits(tmp_path, device):
    """Balanced Softmax with NBN and LR learns from pasted images, read one by one and on the device."""
    cfg = Config.fromfile(ROOT / 'configs/demo/resnet8_nbn_lr_bsl_digits_lt.py')
    resize = dict(type='Resize', scale=16, interpolation='bilinear')
    inner = dict(type='DigitsLT', split='train', imbalance_factor=20)
    augment = [dict(type='RandomCrop', crop_size=16, padding=2), dict(type='PackInputs')]
    if device:
        dataset = dict(type='DeviceDataset', dataset=dict(inner, pipeline=[resize]), pipeline=augment,
                       cmo=dict(prob=0.5))
        cfg.train_dataloader.collate_fn = dict(type='device_collate')
    else:
        dataset = dict(type='CMODataset', prob=0.5, dataset=dict(inner, pipeline=[resize, *augment]))
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset = dataset
    window = dict(type='MixingWindowHook', skip_first=1, skip_last=1)
    cfg.merge_from_dict(dict(work_dir=str(tmp_path), experiment_name=f'cmo_digits_{device}', log_level='WARNING',
                             train_cfg=dict(max_epochs=4, val_interval=4), default_hooks=dict(mixing_window=window)))
    made, mixed = Runner.from_cfg(cfg), Mixed()
    made.register_hook(mixed)
    made.train()
    assert 0 < sum(mixed.seen.values()) < len(mixed.seen) / 2
    assert not any(mixed.seen[i] for i in (*range(7), *range(21, 28)))
    losses = made.message_hub.log_scalars['train/loss'].data[0]
    assert losses[-5:].mean() < 0.8 * losses[:5].mean()
