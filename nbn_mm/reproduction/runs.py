"""The runs of a table: where each lies, what state it is in, and what it has measured."""
import fcntl
import json
import os
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .tables import Row, Table

STATES = ('missing', 'running', 'interrupted', 'failed', 'finished')
POINTER = 'last_checkpoint'  # mmengine's file that names the last checkpoint
SAVED = re.compile(r'(epoch|iter)_(\d+)\.pth')
OWN = ('randomness.seed', 'load_from', 'resume', 'work_dir')  # set by the table or the tool
GROUPS = ('all', 'many', 'medium', 'few')


@dataclass(frozen=True)
class Run:
    """One run: a row and a seed.

    Args:
        table (Table): The table.
        row (Row): The row.
        seed (int): The seed.
        work_root (Path): Folder of the work dirs of all tables.
        log_root (Path): Folder of the compact logs of all tables.
        options (tuple[str]): ``--cfg-options`` beyond those of the row. Defaults to none.
    """
    table: Table
    row: Row
    seed: int
    work_root: Path
    log_root: Path
    options: tuple[str, ...] = ()

    @property
    def work_dir(self) -> Path:
        """Path: Checkpoints and full logs."""
        return self.work_root / self.table.name / self.row.name / f'seed{self.seed}'

    @property
    def log(self) -> Path:
        """Path: The compact log, JSON lines, of a finished run."""
        return self.log_root / self.table.name / f'{self.row.name}_seed{self.seed}.jsonl'

    @property
    def title(self) -> str:
        """str: For messages."""
        return f'{self.table.name}/{self.row.name}/seed{self.seed}'

    def state(self) -> str:
        """``'finished'`` if there is a compact log, else what the work dir says, one of :data:`STATES`."""
        if self.log.is_file():
            return 'finished'
        if not self.work_dir.is_dir():
            return 'missing'
        with _lock(self.work_dir, fcntl.LOCK_SH) as handle:
            if handle is None:
                return 'running'
        record = self.record()
        return 'missing' if record is None else 'failed' if record.get('error') else 'interrupted'

    def record(self) -> dict[str, Any] | None:
        """What the last process of this run wrote when it started and ended (``run.json``), None before the first."""
        path = self.work_dir / 'run.json'
        return json.loads(path.read_text()) if path.is_file() else None

    @contextmanager
    def locked(self) -> Iterator[int | None]:
        """Hold the run; yields None if another process holds it, else the lock's descriptor.

        A process that inherits the descriptor holds the run, too: a training that outlives the tool keeps it.
        """
        self.work_dir.mkdir(parents=True, exist_ok=True)
        # Whoever asks for the state holds the lock for a moment: only one that stays belongs to a run.
        with _lock(self.work_dir, fcntl.LOCK_EX, patience=2.0) as handle:
            yield handle

    def checkpoint(self) -> Path | None:
        """The last checkpoint of the work dir."""
        pointer = self.work_dir / POINTER
        if not pointer.is_file():
            return None
        path = self.work_dir / Path(pointer.read_text().strip()).name
        return path if path.is_file() else None

    def checkpoint_before_last(self) -> Path | None:
        """The newest checkpoint of the work dir before the last one, None if there is none."""
        last = self.checkpoint()
        saved = {int(match.group(2)): path for path in self.work_dir.glob('*.pth')
                 if (match := SAVED.fullmatch(path.name)) and path != last}
        return saved[max(saved)] if saved else None

    def last_evaluation_is_lost(self) -> bool:
        """Whether a run that has come to its end lacks the evaluation of its last checkpoint.

        mmengine saves before it evaluates: a process that is killed in between goes on behind the evaluation.
        """
        last = self.checkpoint()
        match = SAVED.fullmatch(last.name) if last else None
        if match is None:
            return False
        logged, evaluations = self._logged(), self.evaluations()
        if match.group(1) == 'iter' and logged and 'loss' not in logged[-1] and logged[-1].get('step') == 0:
            return False  # an evaluation that was logged by epoch has no step of its own
        return not evaluations or evaluations[-1]['step'] != int(match.group(2))

    def evaluations(self) -> list[dict[str, float]]:
        """All evaluations, in order: ``step`` and ``{group}_top1`` in percent; of a step evaluated twice, the last.

        ``step`` counts as the run does, in epochs or iterations.
        """
        found: dict[int, dict[str, float]] = {}
        for record in self.scalars():
            if 'shot/all_top1' in record:
                found[record['step']] = dict(step=record['step'], **{
                    f'{group}_top1': record[f'shot/{group}_top1'] for group in GROUPS
                    if f'shot/{group}_top1' in record})
        return [found[step] for step in sorted(found)]

    def scalars(self) -> list[dict[str, Any]]:
        """Logged values of all processes of this run, in order; of a compact log, its lines."""
        if self.log.is_file():
            return _compact_log(self.log)
        return _with_steps(self._logged())

    def _logged(self) -> list[dict[str, Any]]:
        """What mmengine has logged in the work dir, in order."""
        files = sorted(self.work_dir.glob('*/vis_data/scalars.json'))
        return [record for file in files for record in _json_lines(file)]

    def other_options(self) -> list[str]:
        """What a finished run was given besides its row's config and options, or lacked of them (``'without …'``).

        Settings that don't change what is measured are left out: where the data lie, the way of computing.
        """
        head = self.scalars()[0]
        given = options_of(head['command'])
        wanted = [option for option in self.row.options if counts(option, self)]
        config = head.get('config', self.row.config)
        return [*([] if config == self.row.config else [f'config {config}']),
                *(option for option in given if counts(option, self) and option not in wanted),
                *(f'without {option}' for option in wanted if option not in given)]


def options_of(command: str) -> list[str]:
    """The ``--cfg-options`` of a logged command."""
    words = shlex.split(command)
    return words[words.index('--cfg-options') + 1:] if '--cfg-options' in words else []


def counts(option: str, run: Run) -> bool:
    """Whether an option changes what a run measures beyond what its table says.

    Args:
        option (str): ``KEY=VALUE``.
        run (Run): The run that was given it.

    Returns:
        bool: False for the run's seed and start, where the data lie, and the way of computing.
    """
    key = option.split('=', 1)[0]
    return not (option == f'randomness.seed={run.seed}' or (key == 'load_from' and run.row.after is not None)
                or key.startswith('default_hooks.speed.') or key.endswith(('.data_root', '.verify_md5')))


def _with_steps(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evaluations that mmengine logged under step 0 get the step of the training record before them."""
    step, found = 0, []
    for record in records:
        if 'loss' in record:
            step = record['step']
        found.append(dict(record, step=step) if record.get('step') == 0 else record)
    return found


@contextmanager
def _lock(folder: Path, kind: int, patience: float = 0.0) -> Iterator[int | None]:
    handle = os.open(folder / '.lock', os.O_CREAT | os.O_RDWR)
    try:
        yield handle if _taken(handle, kind, time.monotonic() + patience) else None
    finally:
        os.close(handle)


def _taken(handle: int, kind: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)


def _json_lines(path: Path) -> list[dict[str, Any]]:
    records = []
    for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:  # the last line of a process that was killed
            continue
    return records


def _compact_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a compact log.

    Raises:
        ValueError: If one is no JSON, the first does not describe a run, or there is no evaluation.
    """
    records = []
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f'{path}, line {number} is no JSON ({error}); take the file from its commit again, or '
                             'remove it to run it anew.') from error
    if not records or {'command', 'minutes', 'hardware'} - set(records[0]):
        raise ValueError(f'{path}: its first line must name command, minutes and hardware of a run.')
    if not any('shot/all_top1' in record for record in records):
        raise ValueError(f'{path} holds no evaluation.')
    return records


def runs_of(table: Table, work_root: Path, log_root: Path, rows: list[str] | None = None,
            seeds: list[int] | None = None, options: Sequence[str] = ()) -> list[Run]:
    """The runs of a table: row by row, seed by seed.

    Args:
        table (Table): The table.
        work_root (Path): Folder of the work dirs.
        log_root (Path): Folder of the compact logs.
        rows (list[str], optional): Names of the rows wanted. Defaults to all.
        seeds (list[int], optional): Seeds wanted, of those of the table. Defaults to all.
        options (Sequence[str]): ``--cfg-options`` of all runs beyond those of their rows. Defaults to none.

    Returns:
        list[Run]: The runs.

    Raises:
        KeyError: If a row is unknown.
        ValueError: If a seed is none of the table's or of a row that is named (seeds are fixed before the first run),
            or an option is for the table or the tool to set.
    """
    for option in options:
        key, equals, _ = option.partition('=')
        if key in OWN or not equals:
            raise ValueError(f'--cfg-options {option}: ' + (f'{key} is set by the table and this tool; leave it out.'
                                                            if key in OWN else 'KEY=VALUE is needed.'))
    chosen = table.rows if rows is None else [table.row(name) for name in rows]
    allowed = {seed for row in table.rows for seed in row.seeds}
    if seeds is not None and set(seeds) - allowed:
        raise ValueError(f'seed {sorted(set(seeds) - allowed)[0]} is none of table {table.name!r}, whose seeds are '
                         f'fixed before the first run: {sorted(allowed)}.')
    for row in chosen:
        if rows is not None and seeds is not None and not set(seeds) & set(row.seeds):
            raise ValueError(f'row {row.name!r} of table {table.name!r} has no seed {" or ".join(map(str, seeds))}; '
                             f'its seeds: {list(row.seeds)}.')
    return [Run(table, row, seed, work_root, log_root, tuple(options))
            for row in chosen for seed in row.seeds if seeds is None or seed in seeds]
