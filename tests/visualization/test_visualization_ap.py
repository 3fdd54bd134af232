import numpy as np
import pytest
from test_visualization_figures import outside

from nbn_mm.evaluation.functional.lvis_table import lvis_class_table, write_lvis_class_csv
from nbn_mm.visualization import plot_ap_by_frequency, read_ap

IMAGES, GROUPS = [0, 5, 10, 50, 200, 1000], ['r', 'r', 'r', 'c', 'f', 'f']
AP = {'CE': [0.0, 10.0, 20.0, np.nan, 40.0, 50.0], 'NBN': [3.0, np.nan, 30.0, np.nan, 41.0, 52.0]}


def table(path, ap=AP['CE'], images=IMAGES, groups=GROUPS, key='segm'):
    names = [f'class {i}' for i in range(len(images or ap))]
    ones = [1] * len(names)
    write_lvis_class_csv(lvis_class_table(names, groups, images, None, ones, ones, {key: np.array(ap) / 100}), path)
    return path


def test_dots_and_means_of_the_groups():
    axes, = plot_ap_by_frequency(IMAGES, GROUPS, AP).axes
    dots = [line for line in axes.get_lines() if line.get_linestyle() == 'None']
    assert sum(len(line.get_xdata()) for line in dots) == 5 + 4
    assert {line.get_marker() for line in dots} == {'^', 's', 'o'}
    means = [line.get_ydata()[0] for line in axes.get_lines() if line.get_linestyle() != 'None']
    assert means == pytest.approx([10.0, 45.0, 16.5, 46.5])  # no common class has ground truth
    legend = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert legend == ['CE: r 10.0, f 45.0', 'NBN: r 16.5, f 46.5']
    assert [text.get_text() for text in axes.texts] == ['▲ rare (3)', '■ common (1)', '● frequent (2)']
    assert axes.get_xscale() == 'log'
    axes.figure.draw_without_rendering()
    assert [label.get_text() for label in axes.get_xticklabels()] == ['0', '1', '10', '100', '1,000']


def test_the_lines_lie_over_the_classes_of_their_group():
    axes, = plot_ap_by_frequency([4, 8, 30, 90, 500], list('rrccf'), {'CE': [1, 2, 3, 4, 5]}).axes
    ends = [line.get_xdata() for line in axes.get_lines() if line.get_linestyle() != 'None']
    assert ends[0][1] == ends[1][0] == pytest.approx(np.sqrt(8 * 30)) and ends[0][0] < 4 and ends[2][1] > 500


def test_overlapping_groups_are_not_shaded():
    axes, = plot_ap_by_frequency([5, 50, 40, 200], list('rrcf'), {'CE': [1, 2, 3, 4]}).axes
    assert not axes.patches and not axes.texts
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()][1:] == ['rare', 'common', 'frequent']


@pytest.mark.parametrize('methods', [1, 4])
def test_nothing_sticks_out(methods):
    rng = np.random.default_rng(0)
    images = (3000 * 0.97**np.arange(250)).astype(int)
    groups = ['f' if n > 100 else 'c' if n > 10 else 'r' for n in images]
    ap = {f'a rather long method name, with logit rectification {i}': rng.uniform(0, 100, 250) for i in range(methods)}
    assert outside(plot_ap_by_frequency(images, groups, ap)) == []


@pytest.mark.parametrize('change, message', [
    (dict(ap={}), 'no method'),
    (dict(train_images=[], frequencies=[], ap={'CE': []}), 'no class'),
    (dict(frequencies=['r']), '1 frequencies for 6 classes'),
    (dict(frequencies=['r'] * 5 + ['x']), "unknown ones: \\['x'\\]"),
    (dict(train_images=[-1] * 6), 'must not be negative, got -1'),
    (dict(ap={'CE': [1, 2]}), r"'CE' has AP of shape \(2,\) for 6 classes"),
    (dict(ap={'CE': [1, 2, 3, 4, 5, 101]}), r'AP 101\.0 is outside'),
])
def test_plot_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        plot_ap_by_frequency(**{**dict(train_images=IMAGES, frequencies=GROUPS, ap=AP), **change})


def test_read_ap(tmp_path):
    data = read_ap([(name, table(tmp_path / f'{name}.csv', values)) for name, values in AP.items()])
    assert data['train_images'].tolist() == IMAGES and data['frequencies'] == GROUPS
    for name, values in AP.items():
        np.testing.assert_allclose(data['ap'][name], values, rtol=1e-15)


@pytest.mark.parametrize('second, message', [
    (dict(key='bbox'), "no column segm_AP: set metric of StreamingLVISMetric"),
    (dict(images=None), "no training images for class 'class 0'.*frequency='class_counts'"),
    (dict(images=[1] * 6), "differ in the column 'train_images'"),
    (dict(groups=['f'] * 6), "differ in the column 'frequency'"),
    (dict(), "'A' stands twice"),
])
def test_read_ap_refuses(tmp_path, second, message):
    tables = [('A', table(tmp_path / 'a.csv')), ('A', table(tmp_path / 'b.csv', **second))]
    with pytest.raises(ValueError, match=message):
        read_ap(tables)
    with pytest.raises(ValueError, match='no per-class CSV'):
        read_ap([])
