"""FiniteLossHook in real runs, and over two processes."""
import os
import socket
from types import SimpleNamespace

import pytest
import tiny_classification as tiny
import torch
from process_server import run_ranks

pytest.importorskip('mmpretrain', reason='the runs need mmpretrain')

from mmengine.hooks import Hook  # noqa: E402
from mmengine.registry import HOOKS  # noqa: E402

from nbn_mm.engine.hooks import FiniteLossHook  # noqa: E402
from nbn_mm.engine.launch import RunStopped  # noqa: E402


@HOOKS.register_module(force=True)
class SpoilHook(Hook):
    """Makes a weight NaN before an iteration, or after it, behind the loss."""

    def __init__(self, iteration, behind=False):
        self.iteration, self.behind = iteration, behind

    def _spoil(self, runner):
        if runner.iter + 1 == self.iteration:
            runner.model.head.fc.weight.data[0, 0] = float('nan')

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.behind:
            self._spoil(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.behind:
            self._spoil(runner)


def run(tmp_path, hook, **spoil):
    return tiny.runner(tmp_path, hooks=dict(finite_loss=dict(type='FiniteLossHook', **hook)),
                       custom_hooks=[dict(type='SpoilHook', priority='VERY_HIGH', **spoil)])


def saved(tmp_path):
    return sorted(path.name for path in tmp_path.glob('*.pth'))


@pytest.mark.parametrize('hook', [dict(), dict(interval=3), dict(interval=1000)])
def test_names_iteration_and_last_good_checkpoint(tmp_path, hook):
    """5 iterations an epoch: the second epoch goes wrong at its second, whenever that is looked at."""
    with pytest.raises(RunStopped, match=r'loss of iteration 7 \(epoch 2\) is not finite') as error:
        run(tmp_path, hook, iteration=7).train()
    assert 'epoch_1.pth: continue with --resume' in str(error.value) and 'Learning rate: 0.05' in str(error.value)
    assert saved(tmp_path) == ['epoch_1.pth']
    assert ('loss=nan' in str(error.value)) == (hook.get('interval', 1) < 1000)
    assert all(value.isfinite().all() for value in
               torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict'].values())


def test_before_there_is_a_checkpoint(tmp_path):
    with pytest.raises(RunStopped, match='No checkpoint has been saved yet'):
        run(tmp_path, {}, iteration=2).train()
    assert saved(tmp_path) == []


def test_weights_spoilt_behind_the_last_loss_are_not_saved(tmp_path):
    with pytest.raises(RunStopped, match='Weights are not finite after iteration 10, .*head.fc.weight'):
        run(tmp_path, {}, iteration=10, behind=True).train()
    assert saved(tmp_path) == ['epoch_1.pth']


@pytest.mark.parametrize('checkpoint, iteration, kept', [
    (dict(interval=4), 6, ['iter_4.pth']),
    (dict(interval=4), 7, ['iter_4.pth']),
    (dict(interval=4, save_begin=2), 6, ['iter_2.pth']),
    (dict(interval=-1), 8, []),  # save_last alone
    (dict(interval=-1, save_last=False, save_best='counts/images', rule='greater'), 2, []),  # after the validation
])
def test_iteration_based_checkpoints(tmp_path, checkpoint, iteration, kept):
    made = tiny.runner(
        tmp_path, counts=(40, 16, 8),  # one epoch: mmengine waits two seconds before a second one
        train_cfg=dict(by_epoch=False, max_iters=8, val_interval=2 if 'save_best' in checkpoint else 100),
        hooks=dict(finite_loss=dict(type='FiniteLossHook', interval=1000),
                   checkpoint=dict(type='CheckpointHook', by_epoch=False, **checkpoint)),
        custom_hooks=[dict(type='SpoilHook', priority='VERY_HIGH', iteration=iteration)])
    with pytest.raises(RunStopped, match=rf'loss of iteration {iteration} is not finite'):
        made.train()
    assert saved(tmp_path) == kept


def test_a_good_run_is_not_touched(tmp_path):
    losses = []
    for name, hooks in (('with', dict(finite_loss=dict(type='FiniteLossHook'))), ('without', {})):
        made = tiny.runner(tmp_path / name, epochs=1, hooks=hooks)
        made.train()
        losses.append([value.clone() for value in made.model.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*losses, strict=True))


@pytest.mark.parametrize('interval', [0, -1, 1.5, True])
def test_bad_interval(interval):
    with pytest.raises(ValueError, match=f'interval={interval!r}'):
        FiniteLossHook(interval)


def _rank(rank, port, folder):
    """A loss, and then a weight, that is not finite on rank 1 alone."""
    os.environ.update(RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank), MASTER_ADDR='127.0.0.1',
                      MASTER_PORT=str(port))
    torch.distributed.init_process_group('gloo')
    model = torch.nn.BatchNorm1d(2)
    model.running_mean[rank] = float('nan') if rank else 1.
    runner = SimpleNamespace(iter=4, epoch=0, hooks=[], work_dir=folder, train_loop=SimpleNamespace(run_epoch=None),
                             optim_wrapper=SimpleNamespace(get_lr=lambda: dict(lr=[0.1])), model=model)
    hook = FiniteLossHook()
    messages = []
    for loss in (1., float('inf') if rank else 1.):
        try:
            hook.after_train_iter(runner, 4, outputs=dict(loss=torch.tensor(loss)))
            hook.after_train_epoch(runner)
        except RunStopped as error:
            messages.append(str(error))
    weights, losses = messages
    assert 'Weights' in weights and ('running_mean' in weights) == (rank == 1)
    assert 'iteration 5' in losses and ('loss=inf' in losses) == (rank == 1)
    with open(os.path.join(folder, f'{rank}.txt'), 'w') as file:
        file.write(losses)
    torch.distributed.destroy_process_group()


def test_one_rank_stops_all(tmp_path):
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port = sock.getsockname()[1]
    run_ranks(_rank, port, str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['0.txt', '1.txt']
