"""Differences between rows of tables: what a part adds, seed by seed and with the interval of the mean."""
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from .style import COLORS, GREY, new_figure

VERDICTS = dict(gain=COLORS[2], undecided=GREY, loss=COLORS[1])


def plot_differences(tables: Mapping[str, Sequence[Mapping[str, Any]]],
                     title: str = 'Differences on the same seeds') -> Figure:
    """Draw one panel a table and one line a comparison: a dot a seed, the mean and its 95 % interval.

    Green: the interval lies above 0; orange: below; grey: it holds 0, or there is one seed.

    Args:
        tables (Mapping): Title of a panel to its differences, each a dict of ``what`` (str), ``values`` (list of
            float, in points, one a seed; those without values are left out), ``mean`` (float), ``half_width`` (float,
            None below two seeds) and ``verdict`` (a key of :data:`VERDICTS`), as
            :func:`nbn_mm.reproduction.report.differences` gives them.
        title (str): Title of the figure.

    Returns:
        Figure: On an Agg canvas of its own.

    Raises:
        ValueError: If there is nothing to draw, or a panel has the same ``what`` twice.
    """
    panels = {name: [each for each in found if each['values']] for name, found in tables.items()}
    panels = {name: found for name, found in panels.items() if found}
    whats = list(dict.fromkeys(each['what'] for found in panels.values() for each in found))
    if not whats:
        raise ValueError('there are no differences to draw.')
    for name, found in panels.items():
        names = [each['what'] for each in found]
        if len(set(names)) < len(names):
            raise ValueError(f'{name!r} compares {max(names, key=names.count)!r} more than once.')
    label = 0.075 * max(len(what) for what in whats)
    figure = new_figure(label + 3.0 * len(panels) + 0.4, 0.3 * len(whats) + 1.4)
    for axes, (name, found) in zip(figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels.items(),
                                   strict=True):
        axes.axvline(0, color='black', linewidth=0.8)
        for each in found:
            line, half = whats.index(each['what']), each['half_width']
            color = VERDICTS[each['verdict']]
            axes.plot(each['values'], [line] * len(each['values']), 'o', color=color, alpha=0.45, markersize=4)
            axes.errorbar(each['mean'], line, xerr=half, fmt='D', color=color, markersize=5, capsize=3, linewidth=1.6)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel('points of top-1', fontsize=9)
        axes.grid(axis='x', color='#D5D8DC', linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
        axes.set_yticks(range(len(whats)), whats, fontsize=9)
        axes.set_ylim(len(whats) - 0.4, -0.6)
    figure.suptitle(title, fontsize=12)
    return figure
