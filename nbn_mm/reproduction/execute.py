"""One run: trains or resumes it, and writes its compact log when it has reached the end."""
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ..version import __version__
from .runs import POINTER, Run, counts, options_of

POINTS = 40  # training records that a compact log keeps
WORK_DIRS = 'work_dirs/reproduce'
STARTED = '%Y-%m-%dT%H:%M:%S%z'
DEVICES = Path('/dev')
KEPT = ('step', 'epoch', 'loss', 'lr')


class RunError(RuntimeError):
    """A run that can't start, or whose training ended with an error."""


def command_of(run: Run, resume: bool | Path) -> list[str]:
    """The command of a run, from the project's folder.

    Args:
        run (Run): The run.
        resume (bool | Path): Whether it continues from the last checkpoint of its work dir, or from which one.

    Returns:
        list[str]: ``python tools/train.py …``.

    Raises:
        RunError: If the run starts from another one that has no checkpoint.
    """
    options = [f'randomness.seed={run.seed}', *run.row.options, *run.options]
    if run.row.after is not None:
        before = Run(run.table, run.table.row(run.row.after), run.seed, run.work_root, run.log_root)
        if before.state() != 'finished':
            raise RunError(f'{run.title} starts from {before.title}, which is {before.state()}; run that row first.')
        if before.checkpoint() is None:
            raise RunError(f'{run.title} starts from {before.title}, which is finished but has no checkpoint in '
                           f'{before.work_dir}; copy it there with its file last_checkpoint, or remove {before.log} to '
                           'train that row again.')
        options.append(f'load_from={before.checkpoint()}')
    return [sys.executable, 'tools/train.py', run.row.config, '--work-dir', str(run.work_dir),
            *(['--resume'] if resume else []), *([str(resume)] if isinstance(resume, Path) else []),
            '--cfg-options', *options]


def execute(run: Run, project: Path, environment: dict[str, str] | None = None) -> str:
    """Train or resume a run in a process of its own and wait for it; nothing happens if it is finished or runs already.

    A run whose last evaluation was lost, because it was interrupted in it, goes on from the checkpoint before.

    Args:
        run (Run): The run.
        project (Path): The project's folder, with ``tools/`` and ``configs/``.
        environment (dict, optional): Variables to set, such as ``OMP_NUM_THREADS``.

    Returns:
        str: The state that the run is in then: ``'finished'``, or ``'running'`` if another process has it.

    Raises:
        RunError: If it can't start, was started with other options, or its training fails; its last lines are in the
            message.
    """
    if run.state() == 'finished':
        return 'finished'
    with run.locked() as handle:
        if handle is None:
            return 'running'
        if run.log.is_file():  # another process has finished it since
            return 'finished'
        resume, logged = (run.work_dir / POINTER).is_file(), len(run.scalars())
        _train(run, project, environment or {}, handle, resume)
        if resume and len(run.scalars()) == logged and run.last_evaluation_is_lost():
            _train(run, project, environment or {}, handle, resume=run.checkpoint_before_last() or False)
        write_log(run)
    return 'finished'


def _train(run: Run, project: Path, environment: dict[str, str], handle: int, resume: bool | Path) -> None:
    """One process of a run, and what ``run.json`` says of it."""
    before = _checked_record(run, resume)
    command = command_of(run, resume)
    record = dict(row=run.row.name, seed=run.seed, command=_shown(command_of(run, resume=False), run, environment),
                  commit=_commit(project), started=time.strftime(STARTED), hardware=hardware(environment),
                  processes=before.get('processes', 0) + 1,
                  minutes=before.get('minutes', 0.0) + _lost_minutes(run, before))
    if before:
        record['earlier'] = [*before.get('earlier', []),
                             {key: before[key] for key in ('started', 'commit', 'hardware') if key in before}]
    path, start = run.work_dir / 'run.json', time.monotonic()
    _write(path, record)
    with open(run.work_dir / 'output.txt', 'a') as output:
        process = subprocess.Popen(command, cwd=project, env={**os.environ, **environment}, stdout=output,
                                   stderr=subprocess.STDOUT, pass_fds=(handle, ))
        try:
            status, peak = _wait(process)
            record['host_memory_mb'] = max(peak, before.get('host_memory_mb', 0))
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            record.update(minutes=record['minutes'] + (time.monotonic() - start) / 60, ended=True)
            _write(path, record)
    if status:
        # A process that was killed from outside is interrupted, not failed: it will be resumed.
        if status > 0:
            _write(path, dict(record, error=f'exit status {status}'))
        tail = '\n'.join((run.work_dir / 'output.txt').read_text(errors='replace').splitlines()[-12:])
        raise RunError(f'{run.title}: training ended with exit status {status}; the whole output is '
                       f'{run.work_dir / "output.txt"}:\n{tail}')


def _checked_record(run: Run, resume: bool | Path) -> dict[str, Any]:
    """What the process before this one wrote, {} for the first.

    Raises:
        RunError: If a run is to be resumed with other options than it was started with.
    """
    before = run.record() or {}
    if before and resume:
        there = [option for option in options_of(before['command']) if counts(option, run)]
        now = [option for option in (*run.row.options, *run.options) if counts(option, run)]
        if sorted(there) != sorted(now):
            raise RunError(f'{run.title} was started with --cfg-options {" ".join(there)} and would go on with '
                           f'{" ".join(now)}: give those it was started with, or remove {run.work_dir} to train it '
                           'anew.')
    return before


def _lost_minutes(run: Run, before: dict[str, Any]) -> float:
    """Minutes of a process that was killed before it could write them: until its last sign of life."""
    files = [run.work_dir / 'output.txt', *run.work_dir.glob('*/vis_data/scalars.json')]
    if not before or before.get('ended') or not any(file.is_file() for file in files):
        return 0.0
    started = datetime.strptime(before['started'], STARTED).timestamp()
    return max(0.0, max(file.stat().st_mtime for file in files if file.is_file()) - started) / 60


def write_log(run: Run) -> None:
    """Write the compact log of a run that has ended: one line about the run, some of training, all evaluations.

    Args:
        run (Run): The run.

    Raises:
        RunError: If the run has evaluated nothing, or not its last checkpoint.
    """
    record = run.record() or {}
    scalars = run.scalars()
    evaluations = [each for each in scalars if 'shot/all_top1' in each]
    message = None
    if not evaluations:
        message = (f"{run.title}: its log holds no 'shot/all_top1'; add dict(type='ShotGroupMetric') to "
                   f'val_evaluator of {run.row.config}.')
    elif run.last_evaluation_is_lost():
        message = (f'{run.title}: {run.checkpoint()} was not evaluated; set train_cfg.val_interval of '
                   f'{run.row.config} so that the last iteration is.')
    if message:
        _write(run.work_dir / 'run.json', dict(record, error='no evaluation'))
        raise RunError(message)
    records = {each['step']: {key: _short(each[key]) for key in KEPT if key in each}
               for each in scalars if 'loss' in each}
    training = [records[at] for at in sorted(records)]
    step = max(1, len(training) // POINTS)
    memory = max((each['memory'] for each in scalars if 'memory' in each), default=None)
    head = dict({key: value for key, value in record.items() if key != 'ended'}, minutes=round(record['minutes'], 2),
                memory_mb=memory, table=run.table.name, config=run.row.config)
    lines = [head, *training[step - 1::step], *({key: _short(value) for key, value in each.items()
                                               if key == 'step' or '/' in key} for each in evaluations)]
    run.log.parent.mkdir(parents=True, exist_ok=True)
    partial = run.log.with_suffix('.part')
    partial.write_text(''.join(json.dumps(line) + '\n' for line in lines), encoding='utf-8')
    partial.replace(run.log)


def hardware(environment: dict[str, str] | None = None) -> str:
    """The accelerator, else the processor and the threads that a process with these variables beside ours has."""
    variables = {**os.environ, **(environment or {})}
    name = ask_accelerator('name', variables)
    if name or sees_accelerator(variables):
        return name or 'an accelerator that nvidia-smi does not name'
    info = Path('/proc/cpuinfo')
    match = re.search(r'model name\s*:\s*(.+)', info.read_text()) if info.is_file() else None
    threads = variables.get('OMP_NUM_THREADS', str(os.cpu_count()))
    return (f'{match.group(1).strip() if match else platform.processor() or platform.machine()}, {threads} thread'
            + ('' if threads == '1' else 's'))


def sees_accelerator(variables: Mapping[str, str] = os.environ) -> bool:
    """Whether there is a GPU that a process with these variables may use, by the system's device files."""
    return _first_visible(variables) is not None and any(DEVICES.glob('nvidia[0-9]*'))


def ask_accelerator(query: str, variables: Mapping[str, str] = os.environ) -> str | None:
    """What nvidia-smi says of the first accelerator that a process with these variables sees, None where there is none.

    Args:
        query (str): A field of ``nvidia-smi --query-gpu``, such as ``'name'``; without units.
        variables (Mapping): Of the process. Defaults to ours.

    Returns:
        str | None: The answer.
    """
    visible = _first_visible(variables)
    if visible is None:
        return None
    command = ['nvidia-smi', f'--id={visible}', f'--query-gpu={query}', '--format=csv,noheader,nounits']
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return answer[0].strip() or None if answer else None


def _first_visible(variables: Mapping[str, str]) -> str | None:
    """The first device that a process may use; CUDA takes none from an empty or a negative entry on."""
    first = variables.get('CUDA_VISIBLE_DEVICES', '0').split(',')[0].strip()
    return None if not first or first.startswith('-') else first


def _shown(command: list[str], run: Run, environment: dict[str, str]) -> str:
    """The command as the log gives it, with its variables; a log travels, so that work dirs are the default ones."""
    default = Path(WORK_DIRS)

    def moved(path: str) -> str:
        return str(default / Path(path).relative_to(run.work_root))

    words = ['python', *command[1:]]
    at = words.index('--work-dir') + 1
    words[at] = moved(words[at])
    if run.row.after is not None:
        words[-1] = 'load_from=' + moved(words[-1].removeprefix('load_from='))
    return ' '.join([*(f'{key}={shlex.quote(value)}' for key, value in environment.items()), shlex.join(words)])


def _wait(process: subprocess.Popen) -> tuple[int, int]:
    """Exit status (negative for a signal) and peak of resident memory in MiB of a child or the largest of its own.

    The system counts a child from the fork on, so that the peak is at least this process's memory.
    """
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss // 1024


def _commit(project: Path) -> str:
    """The commit of the project, or the package's version where the project is no repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(['git', *arguments], cwd=project, capture_output=True, text=True).stdout.strip()

    try:
        top = git('rev-parse', '--show-toplevel')
        if top and Path(top).resolve() == project.resolve():
            return git('describe', '--always', '--dirty', '--abbrev=12')
    except OSError:  # there is no git
        pass
    return f'nbn_mm {__version__}'


def _short(value: Any) -> Any:
    return float(f'{value:.5g}') if isinstance(value, float) else value


def _write(path: Path, record: dict[str, Any]) -> None:
    partial = path.with_suffix('.part')
    partial.write_text(json.dumps(record, indent=1))
    partial.replace(path)
