"""The tables that can be reproduced: rows of configs, seeds and published figures, read from ``tables/*.json``."""
import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / 'tables'
PUBLISHED = Path(__file__).resolve().parent / 'published_tables.csv'
ROW_FIELDS = {'name', 'config', 'seeds', 'options', 'published', 'after', 'imbalance_factor', 'memory_mb', 'schedule',
              'comparable', 'note'}
TABLE_FIELDS = {'title', 'note', 'seeds', 'schedule', 'options', 'comparable', 'memory_mb', 'rows', 'comparisons'}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        name (str): Unique in the table; also the folder of its runs.
        config (str): Config file, relative to the project.
        schedule (str): What the table says about the schedule; a row may have its own.
        imbalance_factor (float, optional): For the table's column.
        seeds (tuple[int]): Seeds, fixed before the first run.
        options (tuple[str]): ``--cfg-options`` of every run.
        published (float, optional): The published figure, top-1 over all classes in percent.
        comparable (bool): Whether a figure of this row may be judged against the published one.
        after (str, optional): Row whose last checkpoint of the same seed this one starts from (``load_from``).
        memory_mb (int): Memory of the accelerator that a run needs, an estimate until one has run.
        note (str): What the row's name leaves open, for the written table.
    """
    name: str
    config: str
    schedule: str
    imbalance_factor: float | None
    seeds: tuple[int, ...]
    options: tuple[str, ...]
    published: float | None
    comparable: bool
    after: str | None
    memory_mb: int
    note: str = ''


@dataclass(frozen=True)
class Comparison:
    """A pair of rows, compared seed by seed.

    Args:
        what (str): What the second has and the first has not.
        base (str): Name of the first row.
        other (str): Name of the second.
    """
    what: str
    base: str
    other: str


@dataclass(frozen=True)
class Table:
    """A table of runs.

    Args:
        name (str): Name of its file without the suffix.
        title (str): One line.
        note (str): What a reader must know beside the figures.
        rows (tuple[Row]): In the order in which they run.
        comparisons (tuple[Comparison]): Pairs of rows whose difference the written table shows.
    """
    name: str
    title: str
    note: str
    rows: tuple[Row, ...] = field(default=())
    comparisons: tuple[Comparison, ...] = field(default=())

    def row(self, name: str) -> Row:
        """The row of a name.

        Raises:
            KeyError: Naming the rows that there are.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f'table {self.name!r} has no row {name!r}; its rows: {", ".join(r.name for r in self.rows)}.')


def table_names() -> list[str]:
    """Names of the tables of the package."""
    return sorted(path.stem for path in FOLDER.glob('*.json'))


def load_table(name: str) -> Table:
    """Read a table.

    Args:
        name (str): A table of the package, or the path of a JSON file of the same form.

    Returns:
        Table: The table.

    Raises:
        ValueError: If there is none of this name, or a field is unknown, missing or wrong; the message names the row.
    """
    path = Path(name) if name.endswith('.json') else FOLDER / f'{name}.json'
    if not path.is_file():
        raise ValueError(f'table {name!r} is unknown; there are {", ".join(table_names())}, or give the path of a JSON '
                         'file.')
    if path.stem in table_names() and path.resolve().parent != FOLDER:
        raise ValueError(f'{path} has the name of a table of the package, whose logs and work dirs it would share; '
                         'rename the file.')
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is no JSON: {error}') from error
    _check_fields(data, TABLE_FIELDS, {'title', 'seeds', 'schedule', 'rows'}, str(path))
    _check_seeds(data['seeds'], str(path))
    _check_options(data.get('options', []), str(path))
    rows: list[Row] = []
    for entry in data['rows']:
        where = f'{path}, row {entry.get("name", len(rows))!r}'
        _check_fields(entry, ROW_FIELDS, {'name', 'config'}, where)
        if entry['name'] in [row.name for row in rows]:
            raise ValueError(f'{where}: the name stands twice.')
        seeds = tuple(_check_seeds(entry.get('seeds', data['seeds']), where))
        _check_options(entry.get('options', []), where)
        if entry.get('after') is not None:
            before = next((row for row in rows if row.name == entry['after']), None)
            if before is None:
                raise ValueError(f'{where}: after={entry["after"]!r} is no row before it.')
            if set(seeds) - set(before.seeds):
                raise ValueError(f'{where}: seed {sorted(set(seeds) - set(before.seeds))[0]} is none of row '
                                 f'{before.name!r}, from which it starts.')
        rows.append(
            Row(entry['name'], entry['config'], entry.get('schedule', data['schedule']), entry.get('imbalance_factor'),
                seeds,
                tuple([*data.get('options', []), *entry.get('options', [])]),
                _published(entry['published'], where) if 'published' in entry else None,
                entry.get('comparable', data.get('comparable', True)), entry.get('after'),
                entry.get('memory_mb', data.get('memory_mb', 3000)), entry.get('note', '')))
    names = [row.name for row in rows]
    for what, *pair in data.get('comparisons', []):
        if len(pair) != 2 or set(pair) - set(names):
            raise ValueError(f'{path}, comparison {what!r}: {pair} must be two rows of the table.')
    whats = [each[0] for each in data.get('comparisons', [])]
    if len(set(whats)) < len(whats):
        raise ValueError(f'{path}: comparison {max(whats, key=whats.count)!r} stands twice.')
    return Table(path.stem, data['title'], data.get('note', ''), tuple(rows),
                 tuple(Comparison(*each) for each in data.get('comparisons', [])))


def _published(entry: dict[str, str], where: str) -> float:
    _check_fields(entry, {'table', 'row', 'dataset', 'setting', 'metric'}, {'table', 'row', 'dataset'},
                  f'{where}, published')
    try:
        return published_figure(**entry)
    except ValueError as error:
        raise ValueError(f'{where}: {error.args[0]}') from error


def _check_seeds(seeds: Any, where: str) -> list[int]:
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds) or (
            len(set(seeds)) < len(seeds)):
        raise ValueError(f'{where}: seeds={seeds!r} must be a list of different integers.')
    return seeds


def _check_options(options: Any, where: str) -> None:
    if not isinstance(options, list) or not all(isinstance(each, str) and '=' in each for each in options):
        raise ValueError(f'{where}: options={options!r} must be a list of "KEY=VALUE".')


def _check_fields(data: dict[str, Any], known: set[str], needed: set[str], where: str) -> None:
    if set(data) - known:
        raise ValueError(f'{where}: unknown field {sorted(set(data) - known)[0]!r}; the fields are {sorted(known)}.')
    if needed - set(data):
        raise ValueError(f'{where}: the field {sorted(needed - set(data))[0]!r} is missing.')


def published_figure(table: str, row: str, dataset: str, setting: str = '', metric: str = 'top1_all') -> float:
    """A figure of the NBN paper, from the package's copy of its tables.

    Args:
        table (str): Roman number of the table.
        row (str): Name of the row, as printed.
        dataset (str): As in the copy, e.g. ``'cifar10_lt'``.
        setting (str): As in the copy, e.g. ``'imbalance_factor=100'``. Defaults to ''.
        metric (str): Defaults to ``'top1_all'``.

    Returns:
        float: The figure, in percent.

    Raises:
        ValueError: If the copy holds no such figure.
    """
    wanted = dict(table=table, row=row, dataset=dataset, setting=setting, metric=metric)
    with open(PUBLISHED, newline='', encoding='utf-8') as file:
        for line in csv.DictReader(file):
            if all(line[key] == value for key, value in wanted.items()) and line['value'] != '-':
                return float(line['value'])
    raise ValueError(f'{PUBLISHED.name} holds no figure of {wanted}.')
