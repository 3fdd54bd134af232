"""Processes of a run: how many there are, and a gloo group where there is no accelerator.

mmengine's ``init_dist`` selects a CUDA device and its ``wrap_model`` passes device ids, so a Runner alone cannot run
DistributedDataParallel on a CPU. A Runner that finds a process group uses it, and takes the wrapper's arguments from
``model_wrapper_cfg``: on a machine without an accelerator both are prepared here, before the Runner is made.
"""
import datetime
import os
import subprocess

import torch
import torch.distributed as torch_dist
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

from .errors import LaunchError

# launcher -> environment variables of (rank, local rank, processes, processes on this machine)
VARIABLES = {
    'pytorch': ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE'),
    'slurm': ('SLURM_PROCID', 'SLURM_LOCALID', 'SLURM_NTASKS', None),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE',
            'OMPI_COMM_WORLD_LOCAL_SIZE'),
}


def _variable(launcher: str, name: str) -> int:
    value = os.environ.get(name)
    if value is None or not value.isdigit():
        starter = {'pytorch': 'tools/dist_train.sh or tools/dist_test.sh (torchrun)', 'slurm': 'srun',
                   'mpi': 'mpirun'}[launcher]
        raise LaunchError(f'--launcher {launcher} needs the environment variable {name}, which is {value!r}: start the '
                          f'processes through {starter}, or use --launcher none for one process.')
    return int(value)


def count_processes(launcher: str) -> int:
    """Number of processes of the run, known before the process group is open.

    Args:
        launcher (str): ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Raises:
        LaunchError: If the launcher's environment variables are missing, or torchrun started several processes that
            were told ``--launcher none`` and would each train alone into one work dir.
    """
    if launcher == 'none':
        started = os.environ.get('WORLD_SIZE', '1')
        if 'TORCHELASTIC_RUN_ID' in os.environ and started != '1':
            raise LaunchError(f'torchrun started {started} processes, but --launcher is none, so that each would train '
                              'alone into the same work dir. Add --launcher pytorch.')
        return 1
    if launcher not in VARIABLES:
        raise LaunchError(f"launcher={launcher!r} is unknown; choose from 'none', {sorted(VARIABLES)}.")
    return _variable(launcher, VARIABLES[launcher][2])


def check_gpus(launcher: str) -> None:
    """Raise an error when a process on this machine has no GPU of its own.

    Raises:
        LaunchError: If more processes run on this machine than GPUs are visible.
    """
    if launcher == 'none' or not torch.cuda.is_available():
        return
    _, local_rank, _, local_size = VARIABLES[launcher]
    visible = torch.cuda.device_count()
    asked = _variable(launcher, local_rank) + 1
    if local_size is not None and local_size in os.environ:
        asked = max(asked, _variable(launcher, local_size))
    if asked > visible:
        raise LaunchError(f'{asked} processes on this machine need {asked} GPUs, but {visible} are visible '
                          f'(CUDA_VISIBLE_DEVICES={os.environ.get("CUDA_VISIBLE_DEVICES")!r}). Start at most '
                          f'{visible}, or set CUDA_VISIBLE_DEVICES=-1 to run on the CPU.')


def open_gloo_group(cfg: Config, launcher: str) -> bool:
    """Open a gloo process group and set ``model_wrapper_cfg`` where there is no accelerator.

    Args:
        cfg (Config): The config of the run; ``env_cfg.dist_cfg.timeout`` (seconds) is used, and ``model_wrapper_cfg``
            gets ``device_ids=None``.
        launcher (str): ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Returns:
        bool: Whether a group was opened; with an accelerator the Runner opens its own.
    """
    if launcher == 'none' or get_device() != 'cpu':
        return False
    rank, local_rank, size, _ = VARIABLES[launcher]
    os.environ['RANK'] = str(_variable(launcher, rank))
    os.environ['LOCAL_RANK'] = str(_variable(launcher, local_rank))
    os.environ['WORLD_SIZE'] = str(_variable(launcher, size))
    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    os.environ.setdefault('MASTER_PORT', str(dist_cfg.get('port') or 29500))
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_host(launcher)
    if not torch_dist.is_initialized():
        timeout = dist_cfg.get('timeout')
        # older torches take no None for the timeout
        limit = dict(timeout=datetime.timedelta(seconds=timeout)) if timeout else {}
        torch_dist.init_process_group('gloo', **limit)
    wrapper = cfg.get('model_wrapper_cfg')
    if wrapper is None:  # the arguments of mmengine's own choice, Runner.wrap_model
        wrapper = ConfigDict(type='MMDistributedDataParallel', broadcast_buffers=False,
                             find_unused_parameters=cfg.get('find_unused_parameters', False))
    wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper
    return True


def _first_host(launcher: str) -> str:
    if launcher == 'slurm' and 'SLURM_NODELIST' in os.environ:
        hosts = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']], capture_output=True,
                               text=True, check=True).stdout.split()
        return hosts[0]
    raise LaunchError(f'--launcher {launcher} on a machine without a GPU needs the environment variable MASTER_ADDR, '
                      'the address of the machine of rank 0.')


def divide_global_batch(cfg: Config, processes: int) -> str | None:
    """Set ``train_dataloader.batch_size`` to the share of one process in ``global_batch_size``.

    Args:
        cfg (Config): The config of the run. Without ``global_batch_size`` nothing changes.
        processes (int): Number of processes.

    Returns:
        str, optional: A line for the log.

    Raises:
        LaunchError: If ``global_batch_size`` is no positive int, is not divisible by ``processes``, goes with an
            enabled ``auto_scale_lr``, or there is no ``train_dataloader``.
    """
    total = cfg.get('global_batch_size')
    if total is None:
        return None
    if isinstance(total, bool) or not isinstance(total, int) or total < 1:
        raise LaunchError(f'global_batch_size={total!r} must be a positive int.')
    if (cfg.get('auto_scale_lr') or {}).get('enable', False):
        raise LaunchError(f'global_batch_size={total} fixes the batch over all processes, so there is no learning rate '
                          'to scale: remove global_batch_size, or leave out --auto-scale-lr and auto_scale_lr.enable.')
    if total % processes:
        raise LaunchError(f'global_batch_size={total} is not divisible by the {processes} processes of this run. '
                          'Change global_batch_size or the number of processes.')
    if cfg.get('train_dataloader') is None:
        raise LaunchError(f'global_batch_size={total} is set, but the config has no train_dataloader.')
    cfg.train_dataloader.batch_size = total // processes
    return f'global_batch_size={total}: {processes} process(es) with train_dataloader.batch_size={total // processes}'
