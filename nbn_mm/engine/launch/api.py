"""Train and test from a config file: the calls behind tools/train.py and tools/test.py."""
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError

import mmengine
import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults
from mmengine.model import is_model_wrapper
from mmengine.registry import METRICS, RUNNERS
from mmengine.runner import Runner

from .checks import pretrained_weights
from .configure import configure_test, configure_train, load_config
from .distributed import check_gpus, count_processes, divide_global_batch, open_gloo_group
from .errors import LaunchError


def _build_runner(cfg: Config) -> Runner:
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


@contextmanager
def _process_group(cfg: Config) -> Iterator[list[Runner]]:
    """Without an accelerator, a gloo group around several processes; the Runner is put into the list it gives.

    The group's threads end with its last reference, which DDP's wrapper of the model holds. Left to the interpreter's
    end, they sometimes abort a process whose run was complete ("terminate called without an active exception").
    """
    opened = open_gloo_group(cfg, cfg.launcher)
    runners: list[Runner] = []
    yield runners
    if opened:
        for runner in runners:
            if is_model_wrapper(runner.model):
                runner.model = runner.model.module
        gc.collect()
        torch_dist.barrier()
        torch_dist.destroy_process_group()


def train(config: str, **options: Any) -> Runner:
    """Train as ``tools/train.py`` does.

    Args:
        config (str): Path of the config.
        **options: The options of the host named by the config's ``default_scope``, by name: ``work_dir``,
            ``resume='auto'`` or a path, ``amp``, ``auto_scale_lr``, ``cfg_options`` (dict), ``launcher``; mmpretrain
            also ``no_validate``, ``no_pin_memory``, ``no_persistent_workers``.

    Returns:
        Runner: After training.

    Raises:
        LaunchError: If the run cannot start as asked; before the Runner is made, or when pretrained weights cannot be
            fetched.
    """
    os.environ.setdefault('LOCAL_RANK', '0')
    cfg = load_config('train', config, options)
    processes = count_processes(cfg.launcher)
    check_gpus(cfg.launcher)
    lines = [configure_train(cfg, options), divide_global_batch(cfg, processes)]
    with _process_group(cfg) as runners:
        runner = _build_runner(cfg)
        runners.append(runner)
        for line in filter(None, lines):
            runner.logger.info(line)
        try:
            runner.train()
        except URLError as error:
            fields = ', '.join(f'{field}={path!r}' for field, path in pretrained_weights(cfg).items() if '://' in path)
            raise LaunchError(f'Pretrained weights could not be fetched ({error}): {fields}. Without a network, fetch '
                              'the file elsewhere and set the field to its path.') from error
    return runner


def test(config: str, checkpoint: str, **options: Any) -> dict[str, float]:
    """Test as ``tools/test.py`` does.

    Args:
        config (str): Path of the config.
        checkpoint (str): Path or address of the checkpoint.
        **options: The options of the host named by the config's ``default_scope``, by name: ``work_dir``, ``out``,
            ``show``, ``show_dir``, ``wait_time``, ``tta``, ``cfg_options`` (dict), ``launcher``; mmpretrain also
            ``out_item`` (``'metrics'`` or ``'pred'``), ``amp``, ``interval``, ``no_pin_memory``.

    Returns:
        dict: The metrics.

    Raises:
        LaunchError: If the run cannot start as asked; before the Runner is made.
    """
    os.environ.setdefault('LOCAL_RANK', '0')
    cfg = load_config('test', config, options)
    count_processes(cfg.launcher)
    check_gpus(cfg.launcher)
    configure_test(cfg, checkpoint, options)
    out, item = options.get('out'), options.get('out_item')
    with _process_group(cfg) as runners:
        runner = _build_runner(cfg)
        runners.append(runner)
        if out is not None and item != 'metrics':
            dump = METRICS.get('mmdet.DumpDetResults') if cfg.default_scope == 'mmdet' else DumpResults
            runner.test_evaluator.metrics.append(dump(out_file_path=out))
        metrics = runner.test()
        if out is not None and item == 'metrics' and is_main_process():
            mmengine.dump(metrics, out)
    return metrics
