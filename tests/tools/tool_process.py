"""Runs a tool in a process of its own.

Starting Python and importing both hosts takes longer than the tiny runs of these tests, so that the process is forked
from a server that has imported them; the tool itself runs as ``__main__`` from its file.
"""
import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_context = multiprocessing.get_context('forkserver')
_context.set_forkserver_preload(['mmengine.runner', 'mmpretrain.models', 'mmdet.models', 'nbn_mm'])


def _start_server():
    """Start the server without GPUs, so that the runs are the same on every machine."""
    kept = os.environ.get('CUDA_VISIBLE_DEVICES')
    os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
    multiprocessing.forkserver.ensure_running()
    if kept is None:
        del os.environ['CUDA_VISIBLE_DEVICES']
    else:
        os.environ['CUDA_VISIBLE_DEVICES'] = kept


def _run(script, args, env, cwd, log, path):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:0] = path
    sys.argv = [script, *args]
    runpy.run_path(script, run_name='__main__')


class Tool:
    """A started tool.

    Args:
        script (str): Name of a file in ``tools/``.
        args (Sequence): Its command line.
        cwd (Path): Where it runs and where its output is collected.
        env (dict, optional): Environment variables.
        path (Sequence[str]): Further folders of ``sys.path``.
    """
    count = 0

    def __init__(self, script, args, cwd, env=None, path=()):
        if Tool.count == 0:
            _start_server()
        Tool.count += 1
        self.log = Path(cwd) / f'output_{Tool.count}.txt'
        self.log.touch()
        self.process = _context.Process(
            target=_run, args=(str(ROOT / 'tools' / script), [str(a) for a in args], env or {}, str(cwd), str(self.log),
                               path))
        self.process.start()

    def wait(self, timeout=120):
        """Return the exit code and what was printed."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            raise TimeoutError(self.output)
        return self.process.exitcode, self.output

    @property
    def output(self):
        return self.log.read_text(errors='replace')


def run_tool(script, *args, cwd, env=None, path=()):
    return Tool(script, args, cwd, env, path).wait()
