"""Mean, spread and verdict of each row, differences between rows, and the CSV of a table."""
import csv
import math
import statistics
from pathlib import Path
from typing import Any

from .runs import GROUPS, Run
from .tables import Table

COLUMNS = ('row', 'config', 'imbalance_factor', 'schedule', 'seeds', 'mean', 'std', 'best_on_test', 'many', 'medium',
           'few', 'published', 'minutes', 'hardware')


def summarize(runs: list[Run]) -> list[dict[str, Any]]:
    """One record a row of the table, over its finished runs.

    Args:
        runs (list[Run]): Runs of one table.

    Returns:
        list[dict]: :data:`COLUMNS` (in percent; None where nothing was measured), and ``states`` (seed to state),
        ``note``, ``memory_mb`` (MiB: peak of the accelerator's memory, on a CPU of the process's), ``comparable``,
        ``other_options`` (seed to what it was run with besides the row's options, or without),
        ``falls_short`` and ``best_falls_short`` (of the last iteration's figure, and of the best one on the test set;
        None while a seed is missing, without a published figure or with another schedule than the published one).
    """
    rows: dict[str, list[Run]] = {}
    for run in runs:
        rows.setdefault(run.row.name, []).append(run)
    return [_summary(members) for members in rows.values()]


def _summary(runs: list[Run]) -> dict[str, Any]:
    row = runs[0].row
    states = {run.seed: run.state() for run in runs}
    done = [run for run in runs if states[run.seed] == 'finished']
    evaluations = [run.evaluations() for run in done]
    heads = [run.scalars()[0] for run in done]
    last = [each[-1] for each in evaluations]
    best = [max(each['all_top1'] for each in evaluation) for evaluation in evaluations]
    figures = {group: _mean([each[f'{group}_top1'] for each in last if f'{group}_top1' in each]) for group in GROUPS}
    std, best_std = (statistics.stdev(each) if len(each) > 1 else None
                     for each in ([each['all_top1'] for each in last], best))
    summary = dict(row=row.name, config=row.config, imbalance_factor=row.imbalance_factor, schedule=row.schedule,
                   seeds=' '.join(str(run.seed) for run in done), mean=figures['all'], std=std,
                   best_on_test=_mean(best), many=figures['many'], medium=figures['medium'], few=figures['few'],
                   published=row.published, minutes=_mean([head['minutes'] for head in heads]),
                   hardware='; '.join(sorted({head['hardware'] for head in heads})))
    memory = [head.get('memory_mb') or head.get('host_memory_mb') for head in heads]
    whole = len(done) == len(runs)
    return dict(summary, states=states, comparable=row.comparable, note=row.note,
                memory_mb=max((each for each in memory if each), default=None),
                falls_short=falls_short(summary['mean'], std, len(done), row) if whole else None,
                best_falls_short=falls_short(summary['best_on_test'], best_std, len(done), row) if whole else None,
                other_options={run.seed: run.other_options() for run in done if run.other_options()})


def falls_short(mean: float | None, std: float | None, number: int, row: Any) -> bool | None:
    """Whether ``published - mean > max(0.5, 2 · std / √n)``; None with nothing to compare with or one seed.

    Args:
        mean (float, optional): Mean over seeds, in percent.
        std (float, optional): Sample standard deviation over seeds.
        number (int): Number of seeds.
        row (Row): The row with its published figure.

    Returns:
        bool | None: The verdict.
    """
    if mean is None or std is None or row.published is None or not row.comparable:
        return None
    return row.published - mean > max(0.5, 2 * std / math.sqrt(number))


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def write_csv(summaries: list[dict[str, Any]], path: Path) -> None:
    """Write the rows that have a log; none is written without one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction='ignore', lineterminator='\n')
        writer.writeheader()
        for summary in summaries:
            if summary['seeds']:
                writer.writerow({key: round(value, 3) if isinstance(value, float) else value
                                 for key, value in summary.items()})


def differences(table: Table, runs: list[Run]) -> list[dict[str, Any]]:
    """The table's comparisons: the second row minus the first, seed by seed.

    Args:
        table (Table): The table.
        runs (list[Run]): Its runs.

    Returns:
        list[dict]: ``what``, ``base``, ``other``, ``seeds`` that both have finished, ``values`` (All, one a seed, in
        points), ``mean``, ``half_width`` of the 95 % interval of the mean by Student's t (None below two seeds),
        ``verdict`` (``'gain'`` or ``'loss'`` if the interval does not hold 0, else ``'undecided'``; None without
        values), and the mean differences ``many``, ``medium``, ``few`` (None where a group is absent).
    """
    last = {(run.row.name, run.seed): run.evaluations()[-1] for run in runs if run.state() == 'finished'}
    found = []
    for comparison in table.comparisons:
        base, other = comparison.base, comparison.other
        seeds = [seed for name, seed in last if name == base and (other, seed) in last]
        groups = {group: [last[other, seed][f'{group}_top1'] - last[base, seed][f'{group}_top1'] for seed in seeds
                          if f'{group}_top1' in last[base, seed] and f'{group}_top1' in last[other, seed]]
                  for group in GROUPS}
        values = groups.pop('all')
        found.append(dict(what=comparison.what, base=base, other=other, seeds=seeds, values=values, mean=_mean(values),
                          half_width=_half_width(values), verdict=_verdict(values),
                          **{group: _mean(each) for group, each in groups.items()}))
    return found


def _verdict(values: list[float]) -> str | None:
    if not values:
        return None
    mean, half = statistics.fmean(values), _half_width(values)
    return 'undecided' if half is None or abs(mean) <= half else 'gain' if mean > 0 else 'loss'


def _half_width(values: list[float]) -> float | None:
    if len(values) < 2:
        return None
    from scipy import stats
    return float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
