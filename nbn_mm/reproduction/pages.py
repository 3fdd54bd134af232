"""Markdown of tables: the page of each, and the blocks of figures in guides, so that no figure is copied by hand.

A block stands between two comments and is rewritten from the logs::

    <!-- reproduce cifar10-short rows bn_ce nbn_lr_ce -->
    <!-- end -->

Its kind is ``rows`` (all or those named), ``differences`` (of the table's comparisons, all or those whose second row is
named) or ``matrix`` (methods by norm, each given as ``stem=label``, e.g. ``'bsl=Balanced Softmax'``).
"""
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .report import differences, summarize
from .runs import GROUPS, Run
from .tables import Table

NORMS = {'bn': 'BN', 'nbn': 'NBN', 'bn_lr': 'BN + LR', 'nbn_lr': 'NBN + LR'}
BEGIN = re.compile(r'<!-- reproduce (?P<call>.+) -->')
END = '<!-- end -->'
# whether the last iteration's figure falls short, and the best one on the test set
VERDICTS = {(True, True): 'falls short', (True, False): 'falls short, best on test does not',
            (False, True): 'falls short in best on test only', (False, False): 'does not fall short'}
KINDS = ('rows', 'differences', 'matrix')


def page(table: Table, runs: list[Run], summaries: list[dict[str, Any]], project: str = '..') -> str:
    """The page of a table: title, note, rows, and the differences that the table asks for.

    Args:
        table (Table): The table.
        runs (list[Run]): Its runs.
        summaries (list[dict]): Of :func:`.report.summarize`.
        project (str): The project's folder relative to the page. Defaults to ``'..'``.

    Returns:
        str: Markdown, for a file beside the folder of the logs.
    """
    text = f'# {table.title}\n\n{table.note}\n\n' + rows_markdown(summaries, table.name, project)
    if table.comparisons:
        text += ("\n## Differences on the same seeds\n\nIn points of top-1; 95 %: interval of the mean by Student's t. "
                 'Undecided: the interval holds 0, or there is one seed.\n\n'
                 + differences_markdown(differences(table, runs)))
    return text


def rows_markdown(summaries: list[dict[str, Any]], logs: str, project: str) -> str:
    """The table with our figure beside the published one; rows without a run say which are missing.

    Args:
        summaries (list[dict]): Of :func:`.report.summarize`.
        logs (str): Folder of the compact logs, relative to the page.
        project (str): The project's folder relative to the page.

    Returns:
        str: Markdown.
    """
    published = any(each['published'] is not None and each['comparable'] for each in summaries)
    head = ['row', 'seeds', 'All', 'best on test', 'Many', 'Medium', 'Few', *['published'] * published, '', 'minutes',
            'memory, GiB']
    lines = [_line(head), '|---|---|' + '--:|' * (5 + published) + '---|--:|--:|']
    schedules = {each['schedule'] for each in summaries}
    for each in summaries:
        remarks = [each['note']] * bool(each['note']) + [each['schedule']] * (len(schedules) > 1)
        lines.append(_line([
            f'[{each["row"]}]({project}/{each["config"]})' + (f' ({"; ".join(remarks)})' if remarks else ''),
            _links(each, logs), _spread(each), _cell(each['best_on_test']),
            *(_cell(each[group]) for group in GROUPS[1:]),
            *['–' if each['published'] is None else f'{each["published"]:.1f}'] * published, _verdict(each),
            _cell(each['minutes']), '–' if each['memory_mb'] is None else f'{each["memory_mb"] / 1024:.1f}']))
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
        lines.append(_line([
            each['what'], f'{each["base"]} → {each["other"]}',
            ' '.join(_signed(value) for value in each['values']) or 'missing',
            _signed(each['mean']), '–' if half is None else f'± {half:.2f}',
            *(_signed(each[group]) for group in GROUPS[1:]),
            each['verdict'] or '']))
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
            cells.append('' if each is None else f'[missing]({project}/{each["config"]})' if each['mean'] is None else
                         f'[{_spread(each)}]({project}/{each["config"]}) ('
                         + ' / '.join('–' if each[group] is None else f'{each[group]:.1f}' for group in GROUPS[1:])
                         + f') {_links(each, logs)}')
        lines.append(_line([label, *cells]))
    return '\n'.join(lines) + '\n'


def fill(path: Path, project: Path, results: Path, load: Callable[[str], tuple[Table, list[Run]]]) -> str:
    """The text of a guide with its blocks written anew; fenced code is left alone.

    Args:
        path (Path): The guide.
        project (Path): The project's folder, for links to configs.
        results (Path): Folder of the compact logs, for links to them.
        load (Callable): Takes the name of a table, returns it and its runs.

    Returns:
        str: The text.

    Raises:
        ValueError: If a block has no end, is not understood, or names what its table lacks; the message has file and
            line.
    """
    lines: list[str] = []
    opened, fenced = None, False
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        where = f'{path}, line {number}'
        fenced ^= line.lstrip().startswith('```')
        begins = not fenced and line.lstrip().startswith('<!-- reproduce')
        ends = not fenced and line.strip() == END
        match = BEGIN.fullmatch(line.strip()) if begins else None
        if begins and match is None:
            raise ValueError(f'{where}: {line.strip()!r} is not <!-- reproduce TABLE KIND … -->.')
        if begins and opened is not None or ends and opened is None:
            raise ValueError(f'{where}: {line.strip()!r} ' + (
                f'stands in a block that has no {END} before it.' if begins else 'ends no block.'))
        if begins:
            opened = where
            try:
                body = _block(match['call'], lambda target: relative(target, path.parent), project, results, load)
                lines += [line, '', body.rstrip('\n'), '']
            except (ValueError, KeyError) as error:
                raise ValueError(f'{where}: {error.args[0]}') from error
        elif ends:
            opened = None
            lines.append(line)
        elif opened is None:
            lines.append(line)
    if opened is not None:
        raise ValueError(f'{opened}: the block has no {END}.')
    return '\n'.join(lines) + '\n'


def _block(call: str, link: Callable[[Path], str], project: Path, results: Path,
           load: Callable[[str], tuple[Table, list[Run]]]) -> str:
    words = shlex.split(call)
    if len(words) < 2 or words[1] not in KINDS:
        raise ValueError(f'{call!r} must be a table and one of {", ".join(KINDS)}.')
    name, kind, *arguments = words
    table, runs = load(name)
    logs, configs = link(results / table.name), link(project)
    if kind == 'matrix':
        return matrix_markdown(summarize(runs), _methods(arguments, table), logs, configs)
    for row in arguments:
        table.row(row)
    if kind == 'differences':
        others = [each.other for each in table.comparisons]
        for row in arguments:
            if row not in others:
                raise ValueError(f'table {table.name!r} has no comparison whose second row is {row!r}.')
        return differences_markdown([each for each in differences(table, runs)
                                     if not arguments or each['other'] in arguments])
    order = arguments or [row.name for row in table.rows]
    summaries = {each['row']: each for each in summarize([run for run in runs if run.row.name in order])}
    return rows_markdown([summaries[row] for row in order], logs, configs)


def _methods(arguments: list[str], table: Table) -> dict[str, str]:
    methods = {}
    for each in arguments:
        stem, equals, label = each.partition('=')
        if not equals:
            raise ValueError(f'{each!r} of a matrix must be stem=label.')
        if not any(row.name == f'{norm}_{stem}' for norm in NORMS for row in table.rows):
            raise ValueError(f'table {table.name!r} has no row of {stem!r}: none of '
                             f'{", ".join(f"{norm}_{stem}" for norm in NORMS)}.')
        methods[stem] = label
    return methods


def relative(path: Path, folder: Path) -> str:
    """A path as a link from a page in a folder."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _line(cells: list[str]) -> str:
    return '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'


def _links(each: dict[str, Any], logs: str) -> str:
    return ' '.join(f'[{seed}]({logs}/{each["row"]}_seed{seed}.jsonl)' for seed in each['seeds'].split()) or '–'


def _spread(each: dict[str, Any]) -> str:
    return _cell(each['mean']) + (f' ± {each["std"]:.2f}' if each['std'] is not None else '')


def _cell(value: float | None) -> str:
    return '–' if value is None else f'{value:.1f}' if value >= 100 else f'{value:.2f}'


def _signed(value: float | None) -> str:
    return '–' if value is None else f'{value:+.2f}'


def _verdict(each: dict[str, Any]) -> str:
    missing = [str(seed) for seed, state in each['states'].items() if state != 'finished']
    words = [f'missing: seed {", ".join(missing)}'] if missing else []
    words += [f'seed {seed} ran with other options: {" ".join(options)}'
              for seed, options in each['other_options'].items()]
    if each['falls_short'] is not None:
        words.append(VERDICTS[each['falls_short'], each['best_falls_short']])
    elif each['published'] is not None and not each['comparable']:
        words.append('another schedule: not comparable')
    return '; '.join(words)
