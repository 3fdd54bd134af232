"""Sorted |weight| of norm layers: how evenly a norm spreads its weight over the channels."""
from collections.abc import Mapping
from os.path import commonprefix

import numpy as np
from matplotlib.figure import Figure

from .style import add_legend, new_figure, series_style


def plot_sorted_weights(weights: Mapping[str, Mapping[str, np.ndarray]], relative: bool = False,
                        title: str = 'Sorted weights of the norm layers') -> Figure:
    """Draw the channels' |weight| in descending order: one panel a layer, one curve a method.

    A flat curve means that no few channels dominate, which is what Bao et al., Normalizing Batch Normalization for
    Long-Tailed Recognition, TIP 2024, arXiv:2501.03122, look at. For NBN the weight is the effective one, w̃.

    Args:
        weights (Mapping): Method to layer name to weights, shape ``(C, )``; methods may have different layers.
        relative (bool): Divide each curve by its mean, so that only its shape is compared. Defaults to False.
        title (str): Title of the figure.

    Returns:
        Figure: On an Agg canvas of its own.

    Raises:
        ValueError: If there is nothing to draw, or weights are not of shape ``(C, )``, not finite, or all zero with
            ``relative``.
    """
    layers = list(dict.fromkeys(layer for per_layer in weights.values() for layer in per_layer))
    if not layers:
        raise ValueError('there are no weights to draw.')
    curves = {(method, layer): _curve(values, relative, f'{method!r}, layer {layer!r}')
              for method, per_layer in weights.items() for layer, values in per_layer.items()}
    columns = len(layers) if len(layers) <= 4 else min((4, 3), key=lambda number: -len(layers) % number)
    rows = -(-len(layers) // columns)
    figure = new_figure(max(5.0, 3.1 * columns), 2.6 * rows + 1.1)
    grid = figure.subplots(rows, columns, squeeze=False)
    prefix = _shared_prefix(layers)
    handles = {}
    for axes, layer in zip(grid.flat, layers, strict=False):
        for index, method in enumerate(weights):
            if (method, layer) not in curves:
                continue
            curve, style = curves[method, layer], series_style(index)
            handles[method], = axes.plot(np.arange(1, len(curve) + 1), curve, color=style['color'], linewidth=1.8,
                                         linestyle=style['linestyle'], marker=style['marker'], markersize=4.5,
                                         markevery=(index * len(curve) // 40, max(1, len(curve) // 6)))
        axes.set_title(layer[len(prefix):], fontsize=9)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.02)
        axes.grid(color='#D5D8DC', linewidth=0.6)
        axes.spines[['top', 'right']].set_visible(False)
    for axes in grid.flat[len(layers):]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(layers) - columns):len(layers)]:
        axes.set_xlabel('channel, sorted', fontsize=9)
    figure.supylabel('|weight| / mean of the layer' if relative else '|weight|', fontsize=10)
    figure.suptitle(f'{title}: {prefix}*' if prefix else title, fontsize=12)
    names = [method for method in weights if method in handles]
    add_legend(figure, [handles[name] for name in names], names)
    return figure


def _curve(values: np.ndarray, relative: bool, where: str) -> np.ndarray:
    values = np.abs(np.asarray(values, dtype=float))
    if values.ndim != 1 or not len(values):
        raise ValueError(f'{where}: weights must have the shape (C,), got {values.shape}.')
    if not np.isfinite(values).all():
        raise ValueError(f'{where}: {int((~np.isfinite(values)).sum())} weights are not finite.')
    if relative:
        if not values.any():
            raise ValueError(f'{where}: all weights are 0, so that there is no relative curve.')
        values = values / values.mean()
    return np.sort(values)[::-1]


def _shared_prefix(layers: list[str]) -> str:
    """The leading modules that all names share, with the final dot; at least the last name part stays."""
    prefix = commonprefix([layer.rpartition('.')[0] + '.' for layer in layers])
    return prefix[:prefix.rfind('.') + 1] if len(layers) > 1 else ''
