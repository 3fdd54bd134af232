import numpy as np
import pytest

from nbn_mm.datasets import shot_groups


def _slow(counts, few, many):
    groups = {'many': [], 'medium': [], 'few': []}
    for index, count in enumerate(counts):
        groups['few' if count < few else 'many' if count > many else 'medium'].append(index)
    return {name: members for name, members in groups.items() if members}


@pytest.mark.parametrize('counts', [[0, 1, 19, 20, 21, 99, 100, 101, 5000], [19], [20], [100], [101], [0], [9, 3, 9]])
@pytest.mark.parametrize('few, many', [(20, 100), (1, 0), (0, 100), (21, 20)])
def test_groups_equal_a_loop(counts, few, many):
    got = {name: index.tolist() for name, index in shot_groups(np.array(counts), few, many).items()}
    assert got == _slow(counts, few, many)
    assert list(got) == [name for name in ('many', 'medium', 'few') if name in got]


def test_bounds_and_absent_groups():
    groups = shot_groups((19, 20, 100, 101))
    assert {name: index.tolist() for name, index in groups.items()} == {'many': [3], 'medium': [1, 2], 'few': [0]}
    assert 'medium' not in shot_groups([1, 1000])


def test_a_class_without_images_is_few():
    assert shot_groups([0, 500])['few'].tolist() == [0]


@pytest.mark.parametrize('kwargs, error, match', [
    (dict(counts=[], few=20), ValueError, 'non-empty'),
    (dict(counts=[[1, 2]]), ValueError, r'shape \(1, 2\)'),
    (dict(counts=[5, -1]), ValueError, '-1 for class 1'),
    (dict(counts=[0.5]), TypeError, 'float64'),
    (dict(counts=[1], few=-1), ValueError, 'few=-1'),
    (dict(counts=[1], many=2.5), TypeError, 'many=2.5'),
    (dict(counts=[1], few=True), TypeError, 'few=True'),
    (dict(counts=[1], few=102, many=100), ValueError, 'few=102 and many=100'),
])
def test_bad_input(kwargs, error, match):
    with pytest.raises(error, match=match):
        shot_groups(**kwargs)
