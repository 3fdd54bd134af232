"""Runs a tool in a process of its own.

Starting Python and importing both hosts takes longer than the tiny runs of these tests, so that the process is forked
from a server that has imported them; the tool itself runs as ``__main__`` from its file.
"""
import os
import runpy
import sys
from pathlib import Path

from process_server import context, start_server

ROOT = Path(__file__).resolve().parents[2]


def _run(script, args, env, cwd, log, path):
    sys.stdout.flush()  # what the server's imports printed is not the tool's
    sys.stdout.reconfigure(line_buffering=True)  # as in a terminal: what is printed first stands first
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:0] = [os.path.dirname(script), *path]  # as Python itself does for a script
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
            start_server()
        Tool.count += 1
        self.log = Path(cwd) / f'output_{Tool.count}.txt'
        self.log.touch()
        self.process = context.Process(
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
