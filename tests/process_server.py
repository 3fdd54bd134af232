"""One server process that has imported the hosts, from which tests start theirs.

Importing both hosts takes longer than most of what such a process does; and a fork of the test process itself would
inherit the locks of torch's threads without the threads, and hang.
"""
import multiprocessing
import multiprocessing.forkserver
import os
import time

import torch.multiprocessing

context = multiprocessing.get_context('forkserver')
context.set_forkserver_preload(['mmengine.runner', 'mmpretrain.models', 'mmdet.models', 'nbn_mm'])


def start_server():
    """Start the server, once, without GPUs, so that the runs are the same on every machine."""
    kept = os.environ.get('CUDA_VISIBLE_DEVICES')
    os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
    multiprocessing.forkserver.ensure_running()
    if kept is None:
        del os.environ['CUDA_VISIBLE_DEVICES']
    else:
        os.environ['CUDA_VISIBLE_DEVICES'] = kept


def run_ranks(target, *args, timeout=120):
    """Run ``target(rank, *args)`` in two processes and wait for them.

    Raises:
        TimeoutError: If they have not ended after ``timeout`` seconds.
        Exception: What a rank raised, from torch.multiprocessing.
    """
    start_server()
    ranks = torch.multiprocessing.start_processes(target, args, nprocs=2, join=False, start_method='forkserver')
    end = time.monotonic() + timeout
    while not ranks.join(timeout=1):
        if time.monotonic() > end:
            for process in ranks.processes:
                process.kill()
            raise TimeoutError(f'the ranks of {target.__name__} have not ended after {timeout} s')
