"""AP of each class against its frequency in the training set."""
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from ..datasets.frequency_groups import GROUPS
from .style import GREY, GROUP_COLORS, add_legend, new_figure, series_style

GROUP_MARKERS = dict(r='^', c='s', f='o')
GLYPHS = dict(r='▲', c='■', f='●')
GROUP_SHADES = dict(r=GROUP_COLORS['few'], c=GROUP_COLORS['medium'], f=GROUP_COLORS['many'])
ZERO = 0.5  # where a class without training images stands on the logarithmic axis
CROWDED = 200  # from here on dots are small and pale


def plot_ap_by_frequency(train_images: Sequence[int], frequencies: Sequence[str], ap: Mapping[str, Sequence[float]],
                         title: str = 'AP of each class against its frequency', ylabel: str = 'AP (%)') -> Figure:
    """Draw one dot a class, whose marker tells its group, and one line a group at its mean, for each method.

    The legend gives the means. The background is shaded by frequency group, if the groups don't overlap in training
    images. A class without training images stands at the left end, at 0.

    Args:
        train_images (Sequence[int]): Training images per class, shape ``(K, )``.
        frequencies (Sequence[str]): ``'r'``, ``'c'`` or ``'f'`` per class, length K.
        ap (Mapping[str, Sequence[float]]): Method to AP per class in percent, shape ``(K, )``; NaN for a class without
            ground truth.
        title (str): Title of the figure.
        ylabel (str): Label of the AP axis.

    Returns:
        Figure: On an Agg canvas of its own.

    Raises:
        ValueError: If there is no method, no class, lengths differ, a group is unknown, a count negative, or an AP
            outside of [0, 100].
    """
    images, groups = np.asarray(train_images, dtype=float), np.asarray(frequencies)
    series = {name: np.asarray(values, dtype=float) for name, values in ap.items()}
    _check(images, groups, series)
    x = np.where(images > 0, images, ZERO)
    spans = _spans(x, groups)

    figure = new_figure(8.6, 5.2)
    axes = figure.subplots()
    _style(axes, x, spans, groups)
    crowded = len(images) >= CROWDED
    for index, values in enumerate(series.values()):
        color = series_style(index)['color']
        shifted = x * 1.04**(index - (len(series) - 1) / 2)  # methods side by side
        for group in spans:
            chosen = (groups == group) & ~np.isnan(values)
            axes.plot(shifted[chosen], values[chosen], linestyle='none', marker=GROUP_MARKERS[group], color=color,
                      markersize=3.2 if crowded else 5.5, alpha=0.35 if crowded else 0.6, markeredgewidth=0)
    lines = {}
    for index, (name, values) in enumerate(series.items()):
        means = _means(groups, values)
        style = {key: value for key, value in series_style(index).items() if key != 'marker'}
        for group, mean in means.items():
            axes.plot(spans[group], [mean, mean], linewidth=2.4, solid_capstyle='butt', **style)
        label = ', '.join(f'{group} {mean:.1f}' for group, mean in means.items())
        lines[f'{name}: {label}'] = Line2D([], [], linewidth=2.4, **style)
    top = max([np.nanmax(values) for values in series.values() if not np.isnan(values).all()], default=100.0)
    axes.set(ylim=(-0.03 * top - 0.3, 1.12 * top + 1), ylabel=ylabel,
             xlabel='Training images of the class (dots: classes; lines: means of the groups)')
    figure.suptitle(title, fontsize=12)
    if not axes.texts:  # overlapping groups have no labels of their own
        lines.update({GROUPS[group]: Line2D([], [], color=GREY, linestyle='none', marker=GROUP_MARKERS[group])
                      for group in spans})
    add_legend(figure, list(lines.values()), list(lines))
    return figure


def _check(images: np.ndarray, groups: np.ndarray, series: Mapping[str, np.ndarray]) -> None:
    if not series or not len(images):
        raise ValueError(f'there is no {"class" if series else "method"} to draw.')
    unknown = sorted(set(groups.tolist()) - set(GROUPS))
    if unknown or groups.shape != images.shape:
        raise ValueError(f'{len(groups)} frequencies for {len(images)} classes; unknown ones: {unknown or "none"}.')
    if not (images >= 0).all():
        raise ValueError(f'training images must not be negative, got {images.min():g}.')
    for name, values in series.items():
        if values.shape != images.shape:
            raise ValueError(f'method {name!r} has AP of shape {values.shape} for {len(images)} classes.')
        wrong = ~(np.isnan(values) | ((values >= 0) & (values <= 100)))
        if wrong.any():
            raise ValueError(f'method {name!r}: AP {values[wrong][0]} is outside of 0 to 100 percent.')


def _spans(x: np.ndarray, groups: np.ndarray) -> dict[str, tuple[float, float]]:
    """Left and right end of each group that has classes; they touch unless the groups overlap."""
    present = [group for group in GROUPS if (groups == group).any()]
    ends = {group: [x[groups == group].min() / 1.3, x[groups == group].max() * 1.3] for group in present}
    for left, right in zip(present, present[1:], strict=False):
        low, high = x[groups == left].max(), x[groups == right].min()
        if low < high:
            ends[left][1] = ends[right][0] = float(np.sqrt(low * high))
    return {group: (low, high) for group, (low, high) in ends.items()}


def _means(groups: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Mean of each group over its classes with ground truth, if it has any."""
    known = ~np.isnan(values)
    return {group: float(values[known & (groups == group)].mean()) for group in GROUPS
            if (known & (groups == group)).any()}


def _style(axes: Axes, x: np.ndarray, spans: Mapping[str, tuple[float, float]], groups: np.ndarray) -> None:
    ends = list(spans.values())
    apart = all(left[1] <= right[0] for left, right in zip(ends, ends[1:], strict=False))
    low, high = min(ends)[0], max(right for _, right in ends)
    for group, (left, right) in spans.items():
        if apart:
            axes.axvspan(left, right, color=GROUP_SHADES[group], linewidth=0, zorder=0)
            wide = np.log(right / left) > 0.18 * np.log(high / low)
            label = f'{GROUPS[group]} ({(groups == group).sum():,})' if wide else group
            axes.text(np.sqrt(left * right), 0.985, f'{GLYPHS[group]} {label}', ha='center', va='top', fontsize=9,
                      color='#555B63', transform=axes.get_xaxis_transform())
    steps = (1, ) if high > 100 * low else (1, 2, 5)
    ticks = [step * 10**power for power in range(9) for step in steps if low <= step * 10**power <= high]
    axes.set(xscale='log', xticks=[ZERO, *ticks] if x.min() == ZERO else ticks, xlim=(low, high))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: '0' if value == ZERO else f'{value:,.0f}'))
    axes.xaxis.minorticks_off()
    axes.grid(axis='y', color='#D5D8DC', linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
