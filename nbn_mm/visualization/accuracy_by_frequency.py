"""Accuracy of each class against its frequency in the training set."""
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from ..datasets.shot_groups import FEW, MANY, shot_groups
from .style import GREY, GROUP_COLORS, add_legend, new_figure, series_style

NAMED_CLASSES = 40  # more names than these are not legible
SMOOTHED_CLASSES = 60  # from here on single classes are dots and a line shows their moving average


def plot_accuracy_by_frequency(counts: Sequence[int], accuracies: Mapping[str, Sequence[float]],
                               class_names: Sequence[str] | None = None, few: int = FEW, many: int = MANY,
                               title: str = 'Accuracy of each class against its frequency',
                               ylabel: str = 'Top-1 accuracy (%)') -> Figure:
    """Draw one series a method over the classes, sorted from frequent to rare.

    Below the accuracies stand the training images of each class on a logarithmic axis; the background is shaded by shot
    group. With 60 classes or more each class is a dot and the line is a moving average over 1/20 of the classes.

    Args:
        counts (Sequence[int]): Training images per class, shape ``(C, )``.
        accuracies (Mapping[str, Sequence[float]]): Method to accuracy per class in percent, shape ``(C, )``; NaN for a
            class without test images.
        class_names (Sequence[str], optional): Shown up to 40 classes.
        few (int): A class with fewer images is a few-shot class. Defaults to 20.
        many (int): A class with more images is a many-shot class. Defaults to 100.
        title (str): Title of the figure.
        ylabel (str): Label of the accuracy axis.

    Returns:
        Figure: On an Agg canvas of its own.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If there is no method, lengths differ, or an accuracy is outside of [0, 100].
    """
    counts = np.asarray(counts)
    groups = shot_groups(counts, few, many)
    series = {name: np.asarray(values, dtype=float) for name, values in accuracies.items()}
    _check(len(counts), series, class_names)
    order = np.argsort(-counts, kind='stable')
    rank = np.arange(1, len(counts) + 1)
    spans = _spans(groups, np.argsort(order) + 1)
    names = None if class_names is None or len(counts) > NAMED_CLASSES else [str(class_names[i]) for i in order]
    longest = max(map(len, names)) if names else 0
    rotated = longest > 6 or len(counts) > 24

    figure = new_figure(min(13.0, max(7.0, 0.32 * len(counts) + 2.0)), 5.4 + 0.07 * longest * rotated)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
    for axes in (upper, lower):
        _style(axes, spans)
    for index, (name, values) in enumerate(series.items()):
        _draw_series(upper, name, rank, values[order], index)
    lower.bar(rank, counts[order], color=GREY, width=0.85 if len(counts) < SMOOTHED_CLASSES else 1.0)

    for name, left, right, number in spans:
        wide = (right - left) / len(counts) > 0.18
        upper.text((left + right) / 2, 108, f'{name} ({number})' if wide else name, ha='center', va='top', fontsize=9,
                   color='#555B63')
    upper.set(ylim=(-3, 109), ylabel=ylabel, xlim=(0.5, len(counts) + 0.5), yticks=range(0, 101, 20))
    upper.tick_params(axis='x', length=0)
    lower.set(yscale='log', ylim=(0.7, max(2.0, counts.max() * 2.0)), ylabel='Training images')
    lower.yaxis.set_major_locator(LogLocator(numticks=12))
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,.0f}'))
    lower.yaxis.minorticks_off()
    if names:
        lower.set_xticks(rank, names, rotation=90 if rotated else 0)
        lower.set_xlabel('Class, from frequent to rare')
    else:
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        lower.set_xlabel('Rank of the class, from frequent to rare')
    figure.suptitle(title, fontsize=12)
    add_legend(figure, *upper.get_legend_handles_labels())
    return figure


def _check(num_classes: int, series: Mapping[str, np.ndarray], class_names: Sequence[str] | None) -> None:
    if not series:
        raise ValueError('there is no method to draw.')
    for name, values in series.items():
        if values.shape != (num_classes, ):
            raise ValueError(f'method {name!r} has accuracies of shape {values.shape} for {num_classes} class counts.')
        wrong = ~(np.isnan(values) | ((values >= 0) & (values <= 100)))
        if wrong.any():
            raise ValueError(f'method {name!r}: accuracy {values[wrong][0]} is outside of 0 to 100 percent.')
    if class_names is not None and len(class_names) != num_classes:
        raise ValueError(f'{len(class_names)} class names for {num_classes} class counts.')


def _draw_series(axes: Axes, name: str, x: np.ndarray, values: np.ndarray, index: int) -> None:
    style = series_style(index)
    if len(values) < SMOOTHED_CLASSES:
        axes.plot(x, values, label=name, linewidth=1.4, markersize=6, alpha=0.9, **style)
        return
    axes.plot(x, values, linestyle='none', marker='.', markersize=3, color=style['color'], alpha=0.25)
    axes.plot(x, moving_average(values, max(3, len(values) // 20)), label=name, color=style['color'],
              linestyle=style['linestyle'], linewidth=2.0)


def moving_average(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over the ``width`` nearest entries, fewer at the ends, NaN entries left out; shape ``(C, )``."""
    kernel = np.ones(width)
    known = ~np.isnan(values)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode='full')
    number = np.convolve(known.astype(float), kernel, mode='full')
    start = (width - 1) // 2
    total, number = total[start:start + len(values)], number[start:start + len(values)]
    return np.divide(total, number, out=np.full(len(values), np.nan), where=number > 0)


def _spans(groups: Mapping[str, np.ndarray], rank: np.ndarray) -> list[tuple[str, float, float, int]]:
    """Name, left and right end, and number of classes of each group, along the sorted classes."""
    return [(name, rank[index].min() - 0.5, rank[index].max() + 0.5, len(index)) for name, index in groups.items()]


def _style(axes: Axes, spans: Sequence[tuple[str, float, float, int]]) -> None:
    for name, left, right, _ in spans:
        axes.axvspan(left, right, color=GROUP_COLORS[name], linewidth=0, zorder=0)
    axes.grid(axis='y', color='#D5D8DC', linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
