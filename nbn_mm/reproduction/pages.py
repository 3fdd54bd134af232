"""Markdown of tables: the page of each, and the blocks of figures in guides, so that no figure is copied by hand.

A block stands between two comments and is rewritten from the logs::

    <!-- reproduce cifar10-short rows bn_ce nbn_lr_ce -->
    <!-- end -->

Its kind is ``rows`` (all or those named), ``differences`` (of the table's comparisons, all or those whose second row is
named) or ``matrix`` (methods by norm, each given as ``stem=label``, e.g. ``'bsl=Balanced Softmax'``).
"""
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .report import differences, summarize
from .runs import GROUPS, Run
from .tables import Table

NORMS = {'bn': 'BN', 'nbn': 'NBN', 'bn_lr': 'BN + LR', 'nbn_lr': 'NBN + LR'}
BLOCK = re.compile(r'(<!-- reproduce (?P<call>[^>]*?) -->\n)(?P<body>.*?)(<!-- end -->)', re.S)
KINDS = ('rows', 'differences', 'matrix')


def page(table: Table, runs: list[Run], summaries: list[dict[str, Any]]) -> str:
    """The page of a table: title, note, rows, and the differences that the table asks for.

    Args:
        table (Table): The table.
        runs (list[Run]): Its runs.
        summaries (list[dict]): Of :func:`.report.summarize`.

    Returns:
        str: Markdown, for a file beside the folder of the logs.
    """
    text = f'# {table.title}\n\n{table.note}\n\n' + rows_markdown(summaries, logs=table.name)
    if table.comparisons:
        text += ("\n## Differences on the same seeds\n\nIn points of top-1; 95 %: interval of the mean by Student's t. "
                 'Undecided: the interval holds 0, or there is one seed.\n\n'
                 + differences_markdown(differences(table, runs)))
    return text


def rows_markdown(summaries: list[dict[str, Any]], logs: str | None = None, project: str = '../') -> str:
    """The table with our figure beside the published one; rows without a run say which are missing.

    Args:
        summaries (list[dict]): Of :func:`.report.summarize`.
        logs (str, optional): Folder of the compact logs, relative to the page, for links.
        project (str): The project's folder relative to the page. Defaults to ``'../'``.

    Returns:
        str: Markdown.
    """
    published = any(each['published'] is not None and each['comparable'] for each in summaries)
    head = ['row', 'seeds', 'All', 'best on test', 'Many', 'Medium', 'Few', *['published'] * published, '', 'minutes',
            'memory, GB']
    lines = [_line(head), '|---|---|' + '--:|' * (5 + published) + '---|--:|--:|']
    schedules = {each['schedule'] for each in summaries}
    for each in summaries:
        remarks = [each['note']] * bool(each['note']) + [each['schedule']] * (len(schedules) > 1)
        lines.append(_line([
            f'[{each["row"]}]({project}{each["config"]})' + (f' ({"; ".join(remarks)})' if remarks else ''),
            _links(each, logs), _spread(each), _cell(each['best_on_test']),
            *(_cell(each[group]) for group in GROUPS[1:]),
            *['–' if each['published'] is None else f'{each["published"]:.1f}'] * published, _verdict(each),
            _cell(each['minutes']), '–' if each['memory_mb'] is None else f'{each["memory_mb"] / 1000:.1f}']))
    by_hardware: dict[str, list[str]] = {}
    for each in summaries:
        if each['hardware']:
            by_hardware.setdefault(each['hardware'], []).append(each['row'])
    lines += [''] * bool(by_hardware) + [
        f'Hardware: {name}' + (f' ({", ".join(rows)})' if len(by_hardware) > 1 else '') + '.'
        for name, rows in by_hardware.items()]
    return '\n'.join(lines) + '\n'


def differences_markdown(found: list[dict[str, Any]]) -> str:
    """The comparisons as a table; a difference whose interval holds 0, or that has one seed, is called undecided.

    Args:
        found (list[dict]): Of :func:`.report.differences`.

    Returns:
        str: Markdown.
    """
    lines = [_line(['what is added', 'from → to', 'seed by seed', 'All', '95 %', 'Many', 'Medium', 'Few', '']),
             '|---|---|---|--:|--:|--:|--:|--:|---|']
    for each in found:
        half = each['half_width']
        decided = half is not None and abs(each['mean']) > half
        lines.append(_line([
            each['what'], f'{each["base"]} → {each["other"]}',
            ' '.join(_signed(value) for value in each['values']) or 'missing',
            _signed(each['mean']), '–' if half is None else f'± {half:.2f}',
            *(_signed(each[group]) for group in GROUPS[1:]),
            '' if each['mean'] is None else 'undecided' if not decided else 'gain' if each['mean'] > 0 else 'loss']))
    return '\n'.join(lines) + '\n'


def matrix_markdown(summaries: list[dict[str, Any]], methods: dict[str, str], logs: str, project: str) -> str:
    """Methods by norm: All (Many / Medium / Few), with the seeds linked to their logs.

    Args:
        summaries (list[dict]): Of :func:`.report.summarize`.
        methods (dict): What follows the norm in the names of rows, to the label.
        logs (str): Folder of the compact logs, relative to the page.
        project (str): The project's folder relative to the page.

    Returns:
        str: Markdown.
    """
    rows = {each['row']: each for each in summaries}
    lines = [_line(['method', *NORMS.values()]), '|---|' + '---|' * len(NORMS)]
    for stem, label in methods.items():
        cells = []
        for norm in NORMS:
            each = rows.get(f'{norm}_{stem}')
            cells.append('' if each is None else f'[missing]({project}{each["config"]})' if each['mean'] is None else
                         f'[{_spread(each)}]({project}{each["config"]}) ('
                         + ' / '.join('–' if each[group] is None else f'{each[group]:.1f}' for group in GROUPS[1:])
                         + f') {_links(each, logs)}')
        lines.append(_line([label, *cells]))
    return '\n'.join(lines) + '\n'


def fill(path: Path, project: Path, load: Callable[[str], tuple[Table, list[Run]]]) -> str:
    """The text of a guide with its blocks written anew.

    Args:
        path (Path): The guide.
        project (Path): The project's folder, in which it lies.
        load (Callable): Takes the name of a table, returns it and its runs.

    Returns:
        str: The text.

    Raises:
        ValueError: If a block is not understood, or names a row that its table lacks; the message has file and block.
    """
    up = '../' * (len(path.resolve().relative_to(project.resolve()).parts) - 1)

    def body(match: re.Match) -> str:
        call = match['call']
        try:
            name, kind, *arguments = shlex.split(call)
            table, runs = load(name)
            return f'{match[1]}\n{_block(table, runs, kind, arguments, up)}\n{match[4]}'
        except (ValueError, KeyError) as error:
            raise ValueError(f'{path}: block {call!r}: {error.args[0]}') from error

    return BLOCK.sub(body, path.read_text(encoding='utf-8'))


def _block(table: Table, runs: list[Run], kind: str, arguments: list[str], up: str) -> str:
    if kind not in KINDS:
        raise ValueError(f'the kind {kind!r} is none of {KINDS}.')
    logs = f'{up}results/{table.name}'
    if kind == 'matrix':
        return matrix_markdown(summarize(runs), dict(each.split('=', 1) for each in arguments), logs, up)
    for name in arguments:
        table.row(name)
    if kind == 'differences':
        found = differences(table, runs)
        return differences_markdown([each for each in found if not arguments or each['other'] in arguments])
    order = arguments or [row.name for row in table.rows]
    summaries = {each['row']: each for each in summarize([run for run in runs if run.row.name in order])}
    return rows_markdown([summaries[name] for name in order], logs, up)


def _line(cells: list[str]) -> str:
    return '| ' + ' | '.join(cells) + ' |'


def _links(each: dict[str, Any], logs: str | None) -> str:
    seeds = each['seeds'].split()
    return ' '.join(f'[{seed}]({logs}/{each["row"]}_seed{seed}.jsonl)' if logs else seed for seed in seeds) or '–'


def _spread(each: dict[str, Any]) -> str:
    return _cell(each['mean']) + (f' ± {each["std"]:.2f}' if each['std'] is not None else '')


def _cell(value: float | None) -> str:
    return '–' if value is None else f'{value:.1f}' if value >= 100 else f'{value:.2f}'


def _signed(value: float | None) -> str:
    return '–' if value is None else f'{value:+.2f}'


def _verdict(each: dict[str, Any]) -> str:
    missing = [str(seed) for seed, state in each['states'].items() if state != 'finished']
    words = [f'missing: seed {", ".join(missing)}'] if missing else []
    if each['falls_short'] is not None:
        words.append('falls short' if each['falls_short'] and each['best_falls_short'] else
                     'falls short, best on test does not' if each['falls_short'] else 'as published')
    elif each['published'] is not None and not each['comparable']:
        words.append('another schedule: not comparable')
    return '; '.join(words)
