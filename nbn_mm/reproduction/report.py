"""Mean, spread and verdict of each row, as CSV and Markdown."""
import csv
import math
import statistics
from pathlib import Path
from typing import Any

from .runs import GROUPS, Run

COLUMNS = ('row', 'config', 'imbalance_factor', 'schedule', 'seeds', 'mean', 'std', 'best_on_test', 'many', 'medium',
           'few', 'published', 'minutes', 'hardware')


def summarize(runs: list[Run]) -> list[dict[str, Any]]:
    """One record a row of the table, over its finished runs.

    Args:
        runs (list[Run]): Runs of one table.

    Returns:
        list[dict]: :data:`COLUMNS` (in percent; None where nothing was measured), and ``states`` (seed to state),
        ``comparable`` and ``falls_short`` (of the last iteration's figure, and of the best one on the test set; None
        without a published figure or with another schedule than the published one).
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
    best = [max(each[f'{GROUPS[0]}_top1'] for each in evaluation) for evaluation in evaluations]
    figures = {group: _mean([each[f'{group}_top1'] for each in last if f'{group}_top1' in each]) for group in GROUPS}
    std = statistics.stdev([each['all_top1'] for each in last]) if len(last) > 1 else None
    summary = dict(row=row.name, config=row.config, imbalance_factor=row.imbalance_factor, schedule=row.schedule,
                   seeds=' '.join(str(run.seed) for run in done), mean=figures['all'], std=std,
                   best_on_test=_mean(best), many=figures['many'], medium=figures['medium'], few=figures['few'],
                   published=row.published, minutes=_mean([head['minutes'] for head in heads]),
                   hardware='; '.join(sorted({head['hardware'] for head in heads})))
    return dict(summary, states=states, comparable=row.comparable,
                falls_short=falls_short(summary['mean'], std, len(done), row) if done else None,
                best_falls_short=falls_short(summary['best_on_test'], std, len(done), row) if done else None)


def falls_short(mean: float | None, std: float | None, number: int, row: Any) -> bool | None:
    """Whether ``published - mean > max(0.5, 2 · std / √n)``; None if there is nothing to compare with.

    Args:
        mean (float, optional): Mean over seeds, in percent.
        std (float, optional): Sample standard deviation over seeds.
        number (int): Number of seeds.
        row (Row): The row with its published figure.

    Returns:
        bool | None: The verdict.
    """
    if mean is None or row.published is None or not row.comparable:
        return None
    return row.published - mean > max(0.5, 2 * (std or 0.0) / math.sqrt(number))


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


def markdown(summaries: list[dict[str, Any]], logs: str | None = None, configs: str = '../') -> str:
    """The table with our figure beside the published one; rows without a run say which are missing.

    Args:
        summaries (list[dict]): Of :func:`summarize`.
        logs (str, optional): Folder of the compact logs, relative to the page, for links.
        configs (str): The project's folder relative to the page. Defaults to ``'../'``.

    Returns:
        str: Markdown.
    """
    lines = ['| row | seeds | All | best on test | Many | Medium | Few | published | | minutes |',
             '|---|---|--:|--:|--:|--:|--:|--:|---|--:|']
    for each in summaries:
        seeds = each['seeds'].split()
        links = ' '.join(f'[{s}]({logs}/{each["row"]}_seed{s}.jsonl)' if logs else s for s in seeds) or '–'
        all_ = _cell(each['mean']) + (f' ± {each["std"]:.2f}' if each['std'] is not None else '')
        lines.append('| ' + ' | '.join([
            f'[{each["row"]}]({configs}{each["config"]})', links, all_, _cell(each['best_on_test']),
            _cell(each['many']), _cell(each['medium']), _cell(each['few']),
            '–' if each['published'] is None else f'{each["published"]:.1f}', _verdict(each),
            _cell(each['minutes'])]) + ' |')
    return '\n'.join(lines) + '\n'


def _cell(value: float | None) -> str:
    return '–' if value is None else f'{value:.1f}' if value >= 100 else f'{value:.2f}'


def _verdict(each: dict[str, Any]) -> str:
    missing = [str(seed) for seed, state in each['states'].items() if state != 'finished']
    words = [f'missing: seed {", ".join(missing)}'] if missing else []
    if each['falls_short'] is not None:
        words.append('falls short' if each['falls_short'] and each['best_falls_short'] else
                     'falls short, best on test does not' if each['falls_short'] else 'as published')
    elif each['published'] is not None and not each['comparable']:
        words.append('another schedule: not comparable')
    return '; '.join(words)
