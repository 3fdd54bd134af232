"""Processes of a run: their number, their share of the batch, the gloo group; told before anything is built."""
import pytest
import torch
from mmengine.config import Config

from nbn_mm.engine.launch import LaunchError, train
from nbn_mm.engine.launch.distributed import check_gpus, count_processes, divide_global_batch, open_gloo_group


@pytest.mark.parametrize('processes, share', [(1, 512), (2, 256), (4, 128)])
def test_global_batch(processes, share):
    cfg = Config(dict(global_batch_size=512, train_dataloader=dict(batch_size=7, batch_sampler=dict(type='X'))))
    assert str(processes) in divide_global_batch(cfg, processes)
    assert cfg.train_dataloader == dict(batch_size=share, batch_sampler=dict(type='X'))


def test_without_global_batch():
    cfg = Config(dict(train_dataloader=dict(batch_size=7)))
    assert divide_global_batch(cfg, 4) is None and cfg.train_dataloader.batch_size == 7


@pytest.mark.parametrize(
    'changes, processes, message',
    [
        (dict(global_batch_size=512), 3, 'global_batch_size=512 is not divisible by the 3 processes'),
        (dict(global_batch_size=0), 1, 'global_batch_size=0 must be a positive int'),
        (dict(global_batch_size=2.5), 1, r'global_batch_size=2\.5 must be a positive int'),
        (dict(global_batch_size=True), 1, 'global_batch_size=True must be a positive int'),
        (
            dict(global_batch_size=8, auto_scale_lr=dict(enable=True, base_batch_size=4)),
            1,
            'global_batch_size=8 fixes the batch.*remove global_batch_size, or leave out --auto-scale-lr',
        ),
        (
            dict(global_batch_size=8, train_dataloader=None),
            1,
            'global_batch_size=8 is set, but the config has no train_dataloader',
        ),
    ],
)
def test_global_batch_errors(changes, processes, message):
    with pytest.raises(LaunchError, match=message):
        divide_global_batch(Config({'train_dataloader': dict(batch_size=1), **changes}), processes)


def test_global_batch_with_the_flag_and_with_ranks(write, monkeypatch):
    with pytest.raises(LaunchError, match='global_batch_size=8 fixes the batch'):
        train(write(global_batch_size=8, auto_scale_lr=dict(base_batch_size=4)), auto_scale_lr=True)
    monkeypatch.setenv('WORLD_SIZE', '3')
    with pytest.raises(LaunchError, match='global_batch_size=8 is not divisible by the 3 processes'):
        train(write(global_batch_size=8), launcher='pytorch')


def test_processes(monkeypatch):
    assert count_processes('none') == 1
    with pytest.raises(
        LaunchError, match='--launcher pytorch needs the environment variable WORLD_SIZE.*dist_train.sh'
    ):
        count_processes('pytorch')
    with pytest.raises(LaunchError, match="launcher='ray' is unknown"):
        count_processes('ray')
    monkeypatch.setenv('SLURM_NTASKS', '5')
    assert count_processes('slurm') == 5
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert count_processes('none') == 1, 'a variable that some clusters set by themselves'
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    with pytest.raises(LaunchError, match='torchrun started 2 processes, but --launcher is none'):
        count_processes('none')


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0,1')
    check_gpus('pytorch')  # without CUDA nothing is asked for
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(
        LaunchError, match=r"4 processes .* need 4 GPUs, but 2 are visible \(CUDA_VISIBLE_DEVICES='0,1'\)"
    ):
        check_gpus('pytorch')
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    check_gpus('pytorch')
    check_gpus('none')


def test_address_of_the_first_machine(monkeypatch, on_cpu):
    for name in ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK'):
        monkeypatch.setenv(name, '0')
    monkeypatch.setenv('OMPI_COMM_WORLD_SIZE', '2')
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE'):
        monkeypatch.setenv(name, '0')
    with pytest.raises(LaunchError, match='--launcher mpi .* needs the environment variable MASTER_ADDR'):
        open_gloo_group(Config(dict()), 'mpi')


@pytest.mark.parametrize(
    'wrapper, expected',
    [
        (
            None,
            dict(
                type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=True, device_ids=None
            ),
        ),
        (
            dict(type='MMSeparateDistributedDataParallel'),
            dict(type='MMSeparateDistributedDataParallel', device_ids=None),
        ),
    ],
)
def test_gloo_group(monkeypatch, on_cpu, wrapper, expected):
    """The group of one process, really opened."""
    for name, value in dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='0').items():
        monkeypatch.setenv(name, value)
    cfg = Config(dict(find_unused_parameters=True, model_wrapper_cfg=wrapper, env_cfg=dict(dist_cfg=dict(timeout=60))))
    assert not open_gloo_group(cfg, 'none')
    assert cfg.model_wrapper_cfg == wrapper
    assert open_gloo_group(cfg, 'pytorch')
    try:
        assert torch.distributed.get_backend() == 'gloo'
        assert cfg.model_wrapper_cfg == expected
    finally:
        torch.distributed.destroy_process_group()


def test_gloo_group_without_a_timeout(monkeypatch, on_cpu):
    """Older torches raise an error for timeout=None, so that none is passed on."""
    for name, value in dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='0').items():
        monkeypatch.setenv(name, value)
    passed = []
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda *args, **kwargs: passed.append((args, kwargs)))
    assert open_gloo_group(Config(dict()), 'pytorch')
    assert passed == [(('gloo', ), {})]
