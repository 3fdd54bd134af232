import pytest

from nbn_mm.datasets.frequency_groups import check_frequency_thresholds, frequency_of


def test_boundaries():
    assert frequency_of([0, 1, 10, 11, 100, 101, 5000]) == ['r', 'r', 'r', 'c', 'c', 'f', 'f']
    assert frequency_of([2, 3, 5, 6], rare=2, common=5) == ['r', 'c', 'c', 'f']
    assert frequency_of([]) == []


@pytest.mark.parametrize('rare, common, error', [(100, 10, ValueError), (-1, 5, ValueError), (5, 5, ValueError),
                                                 (1.5, 3, TypeError), (1, True, TypeError)])
def test_thresholds_are_checked(rare, common, error):
    with pytest.raises(error, match='rare|common'):
        check_frequency_thresholds(rare, common)
