"""One table of several runs: All, Many, Medium, Few and the harmonic mean of each method, from mmengine's files."""
import csv
import io
import json
import math
import statistics
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

HEADINGS = OrderedDict(all='All', many='Many', medium='Medium', few='Few', hmean='Harmonic mean')
Path_ = str | PathLike


def parse_named_paths(arguments: Sequence[str]) -> list[tuple[str, Path]]:
    """Read arguments of the form ``name=path`` (or ``path``, named after its last part).

    Raises:
        ValueError: If a name or a path is empty.
        FileNotFoundError: If a path doesn't exist.
    """
    pairs = []
    for argument in arguments:
        name, sign, path = argument.partition('=')
        if not sign or Path(argument).exists():
            path, name = argument, Path(argument).resolve().name
        if not name or not path:
            raise ValueError(f'{argument!r} must have the form name=path.')
        if not Path(path).exists():
            raise FileNotFoundError(f'{argument!r}: there is no file or folder {path!r}.')
        pairs.append((name, Path(path)))
    return pairs


def read_last_evaluation(path: Path_, prefix: str = 'shot') -> tuple[dict[str, float], str]:
    """The metrics of the last evaluation of a run.

    In a work dir that is the newest run (folders ``{timestamp}``) that evaluated anything: its test
    (``{timestamp}.json``) if there is one, otherwise its last validation (``vis_data/{timestamp}.json``).

    Args:
        path (str | PathLike): A work dir, or a JSON file with the metrics of a test or with the log of a run.
        prefix (str): Prefix of the metrics that are wanted. Defaults to ``'shot'``.

    Returns:
        tuple[dict, str]: Names (without the prefix) to values, and the source: the file, with the step of a validation.

    Raises:
        FileNotFoundError: If the path doesn't exist.
        ValueError: If a file is no JSON, or nothing there holds such metrics.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'there is no run at {str(path)!r}.')
    for file in [path] if path.is_file() else _logs(path):
        for record in reversed(_records(file)):
            metrics = {key[len(prefix) + 1:]: float(value) for key, value in record.items()
                       if key.startswith(f'{prefix}/') and isinstance(value, (int, float))}
            if metrics:
                return metrics, f"{file} (step {record['step']})" if 'step' in record else str(file)
    raise ValueError(f"no evaluation with '{prefix}/…' metrics in {str(path)!r}. Add dict(type='ShotGroupMetric') to "
                     'val_evaluator and test_evaluator, and evaluate the run.')


def _logs(work_dir: Path) -> list[Path]:
    """Logs of a work dir that may hold an evaluation, the newest run first, its test before its validations."""
    files: list[Path] = []
    runs = sorted((folder for folder in work_dir.iterdir() if folder.is_dir()), key=lambda p: p.name, reverse=True)
    for run in [work_dir, *runs]:  # work_dir may be the folder of one run itself
        names = (f'{run.name}.json', f'vis_data/{run.name}.json', 'vis_data/scalars.json')
        for file in (run / name for name in names):
            if file.is_file():
                files.append(file)
    return files


def _records(file: Path) -> list[dict[str, Any]]:
    """Records of a JSON file: one object, or one a line. A last line that was cut off is left out."""
    text = file.read_text(encoding='utf-8', errors='replace')
    try:
        value = json.loads(text)
        return [value] if isinstance(value, dict) else []
    except ValueError:
        pass
    lines, records = [line for line in text.splitlines() if line.strip()], []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            if number < len(lines) or number == 1:
                raise ValueError(f'{str(file)!r}, line {number}, is no JSON: {error}.') from None
    return [record for record in records if isinstance(record, dict)]


def summarize_runs(runs: Sequence[tuple[str, Path_]], k: int = 1) -> list[dict[str, Any]]:
    """One row a method; runs of one name (seeds) are averaged.

    Args:
        runs (Sequence[tuple[str, PathLike]]): Name of the method and where its run lies.
        k (int): The top-k accuracies are taken. Defaults to 1.

    Returns:
        list[dict]: In the order given: ``method``, ``runs`` (their number), for each of ``all, many, medium, few,
        hmean`` the mean in percent (None where no run has the group) and under ``{group}_std`` the sample standard
        deviation (None for one run), and ``sources`` (list of str).

    Raises:
        FileNotFoundError: If a path doesn't exist.
        ValueError: If a run holds no top-k accuracy of ShotGroupMetric, or the runs of a method differ in their groups.
    """
    found: OrderedDict[str, list] = OrderedDict()
    for name, path in runs:
        metrics, source = read_last_evaluation(path)
        values = {group: metrics[f'{group}_top{k}'] for group in HEADINGS if f'{group}_top{k}' in metrics}
        if 'all' not in values:
            raise ValueError(f"{source} holds no 'shot/all_top{k}'. Set topk of ShotGroupMetric so that it contains "
                             f"{k}.")
        found.setdefault(name, []).append((values, source))
    rows = []
    for name, results in found.items():
        if len({tuple(values) for values, _ in results}) != 1:
            raise ValueError(f'the runs of {name!r} differ in their groups: '
                             + '; '.join(f'{source}: {", ".join(values)}' for values, source in results) + '.')
        row: dict[str, Any] = dict(method=name, runs=len(results), sources=[source for _, source in results])
        for group in HEADINGS:
            numbers = [values[group] for values, _ in results if group in values]
            row[group] = statistics.fmean(numbers) if numbers else None
            row[f'{group}_std'] = statistics.stdev(numbers) if len(numbers) > 1 else None
        rows.append(row)
    return rows


def _cell(value: float | None, std: float | None) -> str:
    if value is None or math.isnan(value):
        return '–'
    return f'{value:.2f}' if std is None else f'{value:.2f} ± {std:.2f}'


def summary_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of :func:`summarize_runs` as an aligned Markdown table, in percent; a group that is absent is a dash."""
    seeds = any(row['runs'] > 1 for row in rows)
    table = [['Method', *(['Runs'] if seeds else []), *HEADINGS.values()]]
    for row in rows:
        table.append([row['method'].replace('|', '\\|'), *([str(row['runs'])] if seeds else []),
                      *(_cell(row[group], row[f'{group}_std']) for group in HEADINGS)])
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.ljust(width) if i == 0 else cell.rjust(width)
                          for i, (cell, width) in enumerate(zip(cells, widths, strict=True)))
        return '| ' + ' | '.join([first, *others]) + ' |'

    rule = '|' + '|'.join('-' * (w + 2) if i == 0 else '-' * (w + 1) + ':' for i, w in enumerate(widths)) + '|'
    return '\n'.join([line(table[0]), rule, *(line(cells) for cells in table[1:])])


def summary_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of :func:`summarize_runs` as CSV, with standard deviations and sources; None is an empty field."""
    columns = ['method', 'runs', *(name for group in HEADINGS for name in (group, f'{group}_std')), 'sources']
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=columns, lineterminator='\n')
    writer.writeheader()
    for row in rows:
        cells = {key: f'{value:.4f}' if isinstance(value, float) else value for key, value in row.items()}
        writer.writerow({**cells, 'sources': ' '.join(row['sources'])})
    return out.getvalue()


def write_summary(rows: Sequence[Mapping[str, Any]], path: Path_) -> None:
    """Write the table; ``.md`` makes Markdown, ``.csv`` CSV. Folders on the way are made.

    Raises:
        ValueError: If the suffix is another.
    """
    path = Path(path)
    check_summary_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(summary_csv(rows) if path.suffix == '.csv' else summary_markdown(rows) + '\n', encoding='utf-8')


def check_summary_path(path: Path_) -> None:
    """Raise ValueError if :func:`write_summary` can't write this kind of file."""
    if Path(path).suffix not in ('.md', '.csv'):
        raise ValueError(f'{str(path)!r} must end in .md or .csv.')
