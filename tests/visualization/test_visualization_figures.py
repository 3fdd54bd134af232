import matplotlib
import numpy as np
import pytest

from nbn_mm.visualization import (
    check_figure_path,
    plot_accuracy_by_frequency,
    plot_sorted_weights,
    read_accuracies,
    save_figure,
)
from nbn_mm.visualization.accuracy_by_frequency import moving_average
from nbn_mm.visualization.style import COLORS, series_style

COUNTS = [30, 500, 5, 120]  # order: 1, 3, 0, 2
ACCURACIES = {'CE': [40.0, 90.0, 5.0, 80.0], 'NBN+LR': [50.0, 85.0, np.nan, 82.0]}


def outside(figure):
    """Titles, labels, legend entries and visible tick labels that stick out of the figure."""
    figure.draw_without_rendering()
    width, height = figure.canvas.get_width_height()
    texts = [*figure.texts, figure._suptitle, figure._supylabel]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = {text.get_text(): text.get_window_extent() for text in texts if text is not None and text.get_text()}
    assert len(boxes) > 5
    return [text for text, box in boxes.items()
            if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]


def test_accuracy_by_frequency_draws_the_sorted_classes():
    figure = plot_accuracy_by_frequency(COUNTS, ACCURACIES, ['ant', 'bee', 'cow', 'doe'])
    upper, lower = figure.axes
    ce, nbn = upper.get_lines()
    assert ce.get_label() == 'CE' and ce.get_ydata().tolist() == [90, 80, 40, 5]
    np.testing.assert_array_equal(nbn.get_ydata(), [85, 82, 50, np.nan])
    assert [bar.get_height() for bar in lower.patches if bar.get_height() > 2] == [500, 120, 30, 5]
    assert [label.get_text() for label in lower.get_xticklabels()] == ['bee', 'doe', 'ant', 'cow']
    assert lower.get_yscale() == 'log' and '%' in upper.get_ylabel()
    assert [text.get_text() for text in upper.texts] == ['many (2)', 'medium (1)', 'few (1)']


def test_many_classes_are_dots_with_a_moving_average():
    counts = np.arange(1, 201)
    accuracy = np.linspace(0, 100, 200)
    figure = plot_accuracy_by_frequency(counts, {'CE': accuracy}, [f'class {i}' for i in range(200)])
    dots, line = figure.axes[0].get_lines()
    np.testing.assert_array_equal(dots.get_ydata(), accuracy[::-1])
    assert line.get_label() == 'CE' and line.get_ydata()[100] == pytest.approx(accuracy[::-1][100], abs=0.5)
    assert 'Rank' in figure.axes[1].get_xlabel()


@pytest.mark.parametrize('width', [1, 3, 4, 10])
def test_moving_average_equals_the_slow_one(width):
    values = np.array([1.0, 5.0, np.nan, 2.0, 8.0, 3.0, 3.0, 9.0])
    left, right = (width - 1) - (width - 1) // 2, (width - 1) // 2
    slow = [np.nanmean(values[max(0, i - left):i + right + 1]) if width > 1 else values[i] for i in range(8)]
    np.testing.assert_allclose(moving_average(values, width), slow)


@pytest.mark.parametrize('methods', [1, 4, 7])
@pytest.mark.parametrize('names', ['short', 'a rather long method name, with logit rectification'])
def test_nothing_sticks_out(methods, names):
    rng = np.random.default_rng(0)
    labels = [f'{names} {i}' for i in range(methods)]
    counts = (1000 * 0.5**np.arange(10)).astype(int)
    figure = plot_accuracy_by_frequency(counts, {name: rng.uniform(0, 100, 10) for name in labels},
                                        ['automobile and truck'] * 10)
    assert outside(figure) == []
    layers = [f'backbone.layer4.{i}.bn2' for i in range(3)]
    weights = {name: {layer: rng.normal(size=64) for layer in layers} for name in labels}
    assert outside(plot_sorted_weights(weights)) == []


def test_the_check_sees_a_text_outside():
    figure = plot_accuracy_by_frequency(COUNTS, ACCURACIES)
    figure.text(0.9, 0.5, 'far too long to fit in here')
    assert outside(figure) == ['far too long to fit in here']


@pytest.mark.parametrize('change, message', [
    (dict(accuracies={}), 'no method'),
    (dict(accuracies={'CE': [1, 2]}), r"'CE' has accuracies of shape \(2,\) for 4 class counts"),
    (dict(accuracies={'CE': [1, 2, 3, 101]}), r'accuracy 101\.0 is outside'),
    (dict(class_names=['a']), '1 class names for 4'),
    (dict(counts=[-1, 2, 3, 4]), 'must not be negative'),
])
def test_accuracy_by_frequency_refuses(change, message):
    arguments = dict(counts=COUNTS, accuracies=ACCURACIES)
    arguments.update(change)
    with pytest.raises(ValueError, match=message):
        plot_accuracy_by_frequency(**arguments)


def test_sorted_weights_draws_absolute_weights_in_order():
    weights = {'BN': {'backbone.layer4.0.bn2': np.array([0.5, -2.0, 1.0])},
               'NBN': {'backbone.layer4.0.bn2': np.array([0.6, 0.5, 0.55]), 'backbone.layer4.1.bn2': np.ones(3)}}
    first, second = plot_sorted_weights(weights).axes
    assert [line.get_ydata().tolist() for line in first.get_lines()] == [[2, 1, 0.5], [0.6, 0.55, 0.5]]
    assert len(second.get_lines()) == 1 and second.get_title() == '1.bn2'
    assert second.get_lines()[0].get_color() == first.get_lines()[1].get_color()
    figure = plot_sorted_weights(weights, relative=True)
    for line in figure.axes[0].get_lines():
        assert line.get_ydata().mean() == pytest.approx(1)


def test_sorted_weights_keeps_the_name_of_a_single_layer():
    assert plot_sorted_weights({'BN': {'layer4.0.bn2': [1.0]}}).axes[0].get_title() == 'layer4.0.bn2'


@pytest.mark.parametrize('weights, relative, message', [
    ({}, False, 'no weights'),
    ({'BN': {}}, False, 'no weights'),
    ({'BN': {'bn': np.ones((2, 2))}}, False, r"'BN', layer 'bn': weights must have the shape \(C,\), got \(2, 2\)"),
    ({'BN': {'bn': [np.nan, 1]}}, False, '1 weights are not finite'),
    ({'BN': {'bn': [0.0, 0.0]}}, True, 'all weights are 0'),
])
def test_sorted_weights_refuses(weights, relative, message):
    with pytest.raises(ValueError, match=message):
        plot_sorted_weights(weights, relative=relative)


@pytest.mark.parametrize('suffix, magic', [('png', b'\x89PNG'), ('pdf', b'%PDF'), ('svg', b'<?xml')])
def test_save_figure(tmp_path, suffix, magic):
    path = tmp_path / 'deep' / f'figure.{suffix}'
    save_figure(plot_sorted_weights({'BN': {'bn': [1.0, 2.0]}}), path)
    assert path.read_bytes().startswith(magic)


def test_unknown_figure_format():
    with pytest.raises(ValueError, match=r"'figure\.txt' must end in \.png, \.pdf or \.svg"):
        check_figure_path('figure.txt')


def test_styles_differ():
    assert len({tuple(series_style(i).values()) for i in range(4 * len(COLORS))}) == 4 * len(COLORS)


def test_read_accuracies(tmp_path):
    head = 'index,class,train_images,group,test_images,top1\n'
    cat = '0,cat,500,many,2,50.0\n'
    for name, dog in (('a', '1,dog,5,few,0,'), ('b', '1,dog,5,few,2,0.0'), ('c', '1,dog,6,few,2,0.0'),
                      ('d', '1,eel,5,few,2,0')):
        (tmp_path / f'{name}.csv').write_text(f'{head}{cat}{dog}\n')
    a, b, c, d = (tmp_path / f'{name}.csv' for name in 'abcd')
    data = read_accuracies([('CE', a), ('NBN', b)])
    assert data['counts'].tolist() == [500, 5] and data['class_names'] == ['cat', 'dog']
    np.testing.assert_array_equal(data['accuracies']['CE'], [50, np.nan])
    plot_accuracy_by_frequency(**data)
    for tables, k, message in (([], 1, 'no per-class CSV'),
                               ([('CE', a), ('CE', b)], 1, "'CE' stands twice"),
                               ([('CE', a)], 5, 'no column top5'),
                               ([('CE', a), ('NBN', c)], 1, 'their training images'),
                               ([('CE', a), ('NBN', d)], 1, 'their classes')):
        with pytest.raises(ValueError, match=message):
            read_accuracies(tables, k)


def test_figures_leave_no_global_state():
    before = dict(matplotlib.rcParams)
    from matplotlib import pyplot
    plot_accuracy_by_frequency(COUNTS, ACCURACIES)
    plot_sorted_weights({'BN': {'bn': [1.0, 2.0]}})
    assert dict(matplotlib.rcParams) == before and not pyplot.get_fignums()
