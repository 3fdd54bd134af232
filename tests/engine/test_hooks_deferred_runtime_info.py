"""Scalars that are handed over late give the host's logs and checkpoints, to the digit."""
import copy
import json
import time

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner

from nbn_mm.engine.hooks import DeferredScalars
from nbn_mm.utils.hosts import host_error

needs_host = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')

if host_error('mmpretrain') is None:
    from tiny_classification import config

TIMES = ('time', 'data_time')


@pytest.fixture(autouse=True)
def quick_runs(monkeypatch):
    """Formatting the config and collecting garbage take longer than these runs."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    monkeypatch.setattr('mmengine.dataset.base_dataset.gc.collect', lambda *args: 0)


class Extra(Hook):
    """A name that appears late, and values of other kinds, among the outputs."""
    priority = 'HIGHEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        outputs['number'] = runner.iter
        outputs['array'] = np.float32(runner.iter / 3)
        outputs['half'] = torch.tensor([runner.iter / 3], dtype=torch.bfloat16)
        if runner.iter >= 4:
            outputs['loss_late'] = torch.tensor(0.1, dtype=torch.float64) * runner.iter


def run(work_dir, kind, interval=3, save=4, resume=None, extra=True, **top):
    cfg = config(work_dir, val_interval=2, hooks=dict(
        runtime_info=dict(type=kind), logger=dict(type='LoggerHook', interval=interval, ignore_last=False),
        checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=save)), **top)
    if not top['train_cfg']['by_epoch']:  # the host waits for seconds at the end of a sampler
        cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.experiment_name = f'{kind}_{time.time()}'
    if resume:
        cfg.resume, cfg.load_from = True, str(resume)
    runner = Runner.from_cfg(Config(copy.deepcopy(cfg.to_dict())))
    if extra:
        runner.register_hook(Extra())
    runner.train()
    lines = [json.loads(line) for line in
             (next(work_dir.rglob(f'{runner.timestamp}/vis_data/{runner.timestamp}.json'))).read_text().splitlines()]
    return runner, [[(key, value) for key, value in line.items() if key not in TIMES] for line in lines]


def histories(hub):
    return {name: (buffer.data[0].tolist(), buffer.data[1].tolist(), buffer.data[0].dtype)
            for name, buffer in hub['log_scalars'].items() if name.rsplit('/')[-1] not in TIMES}


@needs_host
@pytest.mark.parametrize('loop', [dict(by_epoch=True, max_epochs=2, val_interval=1),
                                  dict(by_epoch=False, max_iters=10, val_interval=4)], ids=['epochs', 'iterations'])
def test_logs_and_checkpoints_are_the_hosts(tmp_path, loop):
    found = []
    for kind in ('RuntimeInfoHook', 'DeferredRuntimeInfoHook'):
        work_dir = tmp_path / kind
        top = dict(train_cfg=loop, log_processor=dict(by_epoch=loop['by_epoch']))
        runner, log = run(work_dir, kind, **top)
        stored = torch.load(work_dir / 'iter_4.pth', weights_only=False)['message_hub']
        resumed, resumed_log = run(tmp_path / f'{kind}_resumed', kind, resume=work_dir / 'iter_4.pth', **top)
        found.append((log, histories(stored), histories(runner.message_hub.state_dict()), resumed_log,
                      histories(resumed.message_hub.state_dict()), list(runner.message_hub.log_scalars)))
    assert found[0] == found[1]
    log, stored, final = found[1][:3]
    assert len(log) > 3 and len(stored['train/loss'][0]) == 4 and len(final['train/loss'][0]) == 10
    assert any('loss_late' in dict(line) for line in log)


@needs_host
def test_values_leave_the_device_at_the_interval_alone(tmp_path, monkeypatch):
    """Counted as calls that would wait for a GPU."""
    transfers = []
    for name in ('item', 'tolist', '__float__'):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, *a, _f=original, _n=name: transfers.append(
            (self.dtype, self.dim(), _n)) or _f(self, *a))
    cfg = dict(train_cfg=dict(by_epoch=False, max_iters=20, val_interval=100), log_processor=dict(by_epoch=False))
    counts = []
    for kind in ('RuntimeInfoHook', 'DeferredRuntimeInfoHook'):
        transfers.clear()
        run(tmp_path / kind, kind, interval=10, save=100, extra=False, **cfg)
        counts.append(sum(dtype is torch.float32 and dim <= 1 for dtype, dim, _ in transfers))
    # the host: one an iteration; ours: the first, whose names are new, the end of the set (5 batches), and two logs
    assert counts == [20, 4]


def test_a_value_is_that_of_its_iteration():
    """A captured graph writes the next loss to the same place."""
    hub, scalars, loss = MessageHub.get_instance('same_place'), DeferredScalars(), torch.zeros(())
    for step in range(3):
        loss.fill_(step)
        scalars.add('train/loss', loss)
    assert 'train/loss' not in hub.log_scalars
    scalars.hand_over(hub)
    scalars.hand_over(hub)
    assert hub.get_scalar('train/loss').data[0].tolist() == [0, 1, 2]


def test_not_a_number_stays_one():
    hub, scalars = MessageHub.get_instance('not_a_number'), DeferredScalars()
    for value in (1., torch.nan, torch.inf):
        scalars.add('train/loss', torch.tensor(value))
    scalars.hand_over(hub)
    assert np.array_equal(hub.get_scalar('train/loss').data[0], [1, np.nan, np.inf], equal_nan=True)


def test_a_full_history_forgets_its_oldest_values():
    hub, scalars = MessageHub.get_instance('full'), DeferredScalars()
    hub.update_scalar('train/loss', 0.)
    hub.get_scalar('train/loss').max_length = 3
    for value in (1., 2., 3., 4.):
        scalars.add('train/loss', value)
    scalars.hand_over(hub)
    assert hub.get_scalar('train/loss').data[0].tolist() == [2, 3, 4]
