"""Runs of a benchmark in processes of their own, forked from one that has only imported the packages."""
import logging
import multiprocessing
import os
import pickle
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROCESSES = multiprocessing.get_context('forkserver')  # set_forkserver_preload tells what it imports


def in_process(name: str, function: Callable[..., dict], *args: Any) -> dict:
    """Call a function in a fresh process, which prints nothing.

    Args:
        name (str): Of the run, for the message.
        function (Callable): Of a module, so that the process finds it.
        *args: Its arguments.

    Returns:
        dict: What the function gave.

    Raises:
        RuntimeError: If it failed, with its traceback.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'result.pkl'
        process = PROCESSES.Process(target=_run, args=(function, args, str(out)))
        process.start()
        process.join()
        result = pickle.loads(out.read_bytes()) if out.is_file() else f'exit code {process.exitcode}'
    if isinstance(result, str):
        raise RuntimeError(f'{name} failed:\n{result}')
    return result


def _run(function: Callable[..., dict], args: tuple, out: str) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    try:
        result = function(*args)
    except Exception:  # told by the process that waits
        result = traceback.format_exc()
    Path(out).write_bytes(pickle.dumps(result))
