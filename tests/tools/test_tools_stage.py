"""Classifier retraining on Digits-LT through tools/train.py: one run, two runs, two processes."""
import socket

import pytest
import torch
from tool_process import ROOT, Tool, run_tool

CRT = """
_base_ = {base!r}
resize = [dict(type='Resize', scale=16, interpolation='bilinear'), dict(type='PackInputs')]
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=resize))
train_cfg = dict(max_epochs=3, val_interval=3)
param_scheduler = [dict(
    type='CosineRestartLR', periods=[2, 1], restart_weights=[1, 1], eta_min=0, by_epoch=True,
    convert_to_iter_based=True)]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1), stage=dict(type='StageHook', stages=[dict(
    begin=2, sampler=dict(type='ClassBalancedSampler', num_samples_per_class=4), freeze=[r'^backbone\\.'],
    norm='frozen', reinit=['head.fc'])]))
"""
PROCESSES = """
custom_imports = dict(imports=['nbn_mm', 'rank_weights'])
custom_hooks = [dict(type='RankWeightsHook')]
global_batch_size = 64
"""
# Stands beside the config and is imported by it: the weights that each rank ends with.
RANK_WEIGHTS = """
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class RankWeightsHook(Hook):

    def after_train(self, runner):
        torch.save(runner.model.module.state_dict(), f'{runner.work_dir}/rank_{runner.rank}.pth')
"""
CLASSIFIER = {'head.fc.weight', 'head.fc.bias'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    pytest.importorskip('mmpretrain', reason='the config needs mmpretrain')
    pytest.importorskip('sklearn', reason='Digits-LT comes with scikit-learn')
    folder = tmp_path_factory.mktemp('stage')
    text = CRT.format(base=str(ROOT / 'configs/demo/resnet8_bn_ce_digits_lt.py'))
    (folder / 'crt.py').write_text(text)
    (folder / 'crt_processes.py').write_text(text + PROCESSES)
    (folder / 'rank_weights.py').write_text(RANK_WEIGHTS)
    return folder


def state(path):
    loaded = torch.load(path, map_location='cpu', weights_only=False)
    return loaded.get('state_dict', loaded)


def changed(first, second):
    first, second = state(first), state(second)
    assert first.keys() == second.keys()
    return {key for key, value in first.items() if not torch.equal(value, second[key])}


def test_one_run_and_two(folder):
    one, two = folder / 'one', folder / 'two'
    code, output = run_tool('train.py', folder / 'crt.py', '--work-dir', one, cwd=folder)
    assert code == 0, output
    assert 'StageHook: stage 1 of 1 from epoch 2 on: 2 of 23 parameters learn, batch norm: frozen, sampler: ' \
        'ClassBalancedSampler, re-initialised: head.fc.' in output
    assert 'shot/all_top1' in output
    assert changed(one / 'epoch_2.pth', one / 'epoch_3.pth') == CLASSIFIER
    stage_2 = ['--cfg-options', 'default_hooks.stage.stages.0.begin=0', 'train_cfg.max_epochs=1',
               'param_scheduler.0.periods=[1]', 'param_scheduler.0.restart_weights=[1]']
    code, output = run_tool('train.py', folder / 'crt.py', '--work-dir', two, *stage_2,
                            f'load_from={one / "epoch_2.pth"}', cwd=folder)
    assert code == 0, output
    assert not changed(one / 'epoch_3.pth', two / 'epoch_1.pth')


def in_two_processes(folder, work_dir, *args):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = str(s.getsockname()[1])
    ranks = [Tool('train.py', [folder / 'crt_processes.py', '--work-dir', work_dir, '--launcher', 'pytorch', *args],
                  folder, dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', LOCAL_WORLD_SIZE='2',
                               MASTER_ADDR='127.0.0.1', MASTER_PORT=port), [str(folder)]) for rank in range(2)]
    for rank in ranks:
        code, output = rank.wait()
        assert code == 0, output


def test_two_processes(folder):
    """Freezing after DistributedDataParallel was made; both ranks agree, and so does a resumed run."""
    whole, resumed = folder / 'processes', folder / 'resumed'
    in_two_processes(folder, whole)
    assert changed(whole / 'epoch_2.pth', whole / 'epoch_3.pth') == CLASSIFIER
    assert not changed(whole / 'rank_0.pth', whole / 'rank_1.pth')
    in_two_processes(folder, resumed, '--resume', whole / 'epoch_2.pth')
    assert not changed(whole / 'rank_1.pth', resumed / 'rank_1.pth')
