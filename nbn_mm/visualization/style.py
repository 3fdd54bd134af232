"""Colours, markers and saving, shared by the figures; no global state of matplotlib is touched."""
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette without black and yellow: told apart with any colour vision. Repeats with other markers.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X')
LINES = ('-', '--', '-.', ':')
GROUP_COLORS = dict(many='#E4E9EE', medium='#F4F5F6', few='#FBEFE0')
GREY = '#8A9099'


def series_style(index: int) -> dict[str, str]:
    """Colour, marker and line style of the n-th method, which change at different paces and so don't repeat soon."""
    return dict(color=COLORS[index % len(COLORS)], marker=MARKERS[index % len(MARKERS)],
                linestyle=LINES[index // len(COLORS) % len(LINES)])


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches on an Agg canvas of its own, laid out without overlaps."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def add_legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """A legend below the axes with as many columns as fit the width of the figure, which grows by its rows."""
    entry = 0.75 + 0.085 * max(len(name) for name in names)  # inches, at 10 points
    columns = max(1, min(len(names), int((figure.get_figwidth() - 0.2) // entry)))
    figure.set_figheight(figure.get_figheight() + 0.24 * (-(-len(names) // columns) - 1))
    figure.legend(handles, names, loc='outside lower center', ncols=columns, frameon=False)


def save_figure(figure: Figure, path: str | PathLike, dpi: int = 150) -> None:
    """Write a figure; the format follows the suffix (.png, .pdf, .svg). Folders on the way are made.

    Raises:
        ValueError: If the suffix is another.
    """
    check_figure_path(path)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi, facecolor='white')


def check_figure_path(path: str | PathLike) -> None:
    """Raise ValueError if :func:`save_figure` can't write this kind of file."""
    if Path(path).suffix not in ('.png', '.pdf', '.svg'):
        raise ValueError(f'{str(path)!r} must end in .png, .pdf or .svg.')
