import pytest

from nbn_mm.visualization import plot_differences
from nbn_mm.visualization.differences import VERDICTS

FOUND = [dict(what='LR', values=[2.0, 2.2, 1.9], mean=2.03, half_width=0.38, verdict='gain'),
         dict(what='NBN', values=[-0.5, 0.6], mean=0.05, half_width=7.0, verdict='undecided'),
         dict(what='decay', values=[-1.0, -1.1, -0.9], mean=-1.0, half_width=0.25, verdict='loss'),
         dict(what='smooth', values=[0.4], mean=0.4, half_width=None, verdict='undecided'),
         dict(what='missing', values=[], mean=None, half_width=None, verdict=None)]


def test_a_line_a_comparison_and_its_verdict_by_colour():
    figure = plot_differences({'A': FOUND, 'B': FOUND[:1], 'empty': FOUND[4:]})
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ['LR', 'NBN', 'decay', 'smooth']
    dots = [line for line in first.get_lines() if line.get_alpha() is not None]
    assert [list(line.get_xdata()) for line in dots] == [each['values'] for each in FOUND[:4]]
    assert [list(line.get_ydata())[0] for line in dots] == [0, 1, 2, 3]
    assert [line.get_color() for line in dots] == [
        VERDICTS['gain'], VERDICTS['undecided'], VERDICTS['loss'], VERDICTS['undecided']]
    low, high = first.containers[0].get_children()[-1].get_segments()[0][:, 0]
    assert (low, high) == pytest.approx((1.65, 2.41))
    assert len(second.containers) == 1 and second.get_title() == 'B'
    first_to_last = first.get_ylim()
    assert first_to_last[0] > first_to_last[1], 'the first comparison stands on top'


def test_nothing_to_draw_and_names_that_stand_twice():
    with pytest.raises(ValueError, match='no differences'):
        plot_differences({'A': FOUND[4:]})
    with pytest.raises(ValueError, match="'A' compares 'LR' more than once"):
        plot_differences({'A': [FOUND[0], FOUND[0]]})
