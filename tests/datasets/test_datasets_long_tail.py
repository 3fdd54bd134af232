import math

import numpy as np
import pytest
from references.ldam_subset import ldam_subset

from nbn_mm.datasets import long_tail_counts, long_tail_indices, select_subset, subset_hash

LABELS = np.random.RandomState(3).randint(0, 10, 3000)


@pytest.mark.parametrize('n_max, num_classes, factor, total', [
    (5000, 10, 100, 12406),
    (5000, 10, 50, 13996),
    (5000, 10, 200, 11203),
    (500, 100, 100, 10847),
    (500, 100, 50, 12608),
    (500, 100, 200, 9502),
])
def test_published_totals(n_max, num_classes, factor, total):
    counts = long_tail_counts(n_max, num_classes, factor)
    assert counts.sum() == total
    assert counts[0] == n_max and counts[-1] == n_max // factor
    assert (np.diff(counts) <= 0).all() and counts.dtype == np.int64


def test_exp_equals_a_slow_formula():
    expected = [int(math.exp(math.log(5000) - math.log(100) * i / 9) + 1e-9) for i in range(10)]
    assert long_tail_counts([5000] * 10, 10, 100).tolist() == expected


@pytest.mark.parametrize('kind', ['exp', 'step'])
def test_the_smallest_class_is_the_floor_of_the_exact_quotient(kind):
    for n_max in range(1, 400):
        for factor in {1, 7, 49, 98, 103, n_max}:
            if factor <= n_max:
                assert long_tail_counts(n_max, 10, factor, kind)[-1] == n_max // factor, (n_max, factor)


def test_step_balanced_and_small_sets():
    assert long_tail_counts(500, 4, 10, 'step').tolist() == [500, 500, 50, 50]
    assert long_tail_counts(500, 5, 10, 'step').tolist() == [500, 500, 50, 50, 50]
    assert long_tail_counts([7, 30, 9], 3, 1).tolist() == [30, 30, 30]
    assert long_tail_counts(30, 3, 1, 'step').tolist() == [30, 30, 30]
    assert long_tail_counts(30, 1, 10).tolist() == long_tail_counts(30, 1, 10, 'step').tolist() == [30]


@pytest.mark.parametrize('args, error, match', [
    ((10, 2, 0.5), ValueError, 'imbalance_factor=0.5 must be at least 1'),
    ((10, 2, float('nan')), ValueError, 'imbalance_factor=nan'),
    ((10, 2, float('inf')), ValueError, 'imbalance_factor=inf'),
    ((10, 2, '100'), TypeError, "imbalance_factor='100' must be a number"),
    ((10, 2, True), TypeError, 'imbalance_factor=True'),
    ((10, 2, 10, 'pareto'), ValueError, "imbalance_type='pareto' is unknown"),
    ((10, 0, 10), ValueError, 'num_classes=0'),
    (([10, 10], 3, 10), ValueError, '2 class sizes for num_classes=3'),
    ((10, 3, 11), ValueError, 'imbalance_factor=11 leaves class 2 without images when the largest class has 10'),
])
def test_bad_counts(args, error, match):
    with pytest.raises(error, match=match):
        long_tail_counts(*args)


@pytest.mark.parametrize('subset, seed', [('canonical', 0), (0, 0), (1, 1), (2**32 - 1, 2**32 - 1)])
def test_subset_equals_the_derivation(subset, seed):
    counts = long_tail_counts(int(np.bincount(LABELS).min()), 10, 20)
    assert select_subset(LABELS, counts, subset).tolist() == ldam_subset(LABELS.tolist(), counts.tolist(), seed)


def test_subset_ignores_and_leaves_the_global_random_state():
    np.random.seed(5)
    first = select_subset(LABELS, [100] * 10)
    after = np.random.randint(2**31)
    np.random.seed(5)
    assert after == np.random.randint(2**31)
    assert (select_subset(LABELS, [100] * 10) == first).all()


def test_first_takes_the_first_of_each_class():
    assert select_subset([1, 0, 1, 0, 0], [2, 1], 'first').tolist() == [1, 3, 0]


def test_hash_is_pinned_and_covers_index_and_label():
    """The constants hold on every machine: 5,000 labels of a fixed order, LDAM's subset at factor 100."""
    labels = np.arange(5000) * 7919 % 5000 % 10
    chosen = select_subset(labels, long_tail_counts(500, 10, 100))
    assert chosen[:4].tolist() == [900, 2540, 2830, 4450]
    assert subset_hash(chosen, labels) == 'f4c4211ecc137c52'
    assert subset_hash(chosen[::-1], labels) != subset_hash(chosen, labels)
    assert subset_hash(chosen, (labels + 1) % 10) != subset_hash(chosen, labels)
    assert subset_hash(chosen.astype(np.int32), labels.tolist()) == subset_hash(chosen, labels)


@pytest.mark.parametrize('args, error, match', [
    (([0, 1], [1, 2]), ValueError, 'class 1 has 1 images, but the long-tailed subset needs 2'),
    (([0, 1], [1, 2], 'first', ['cat', 'dog']), ValueError, r'class 1 \(dog\) has 1 images'),
    (([0, 3], [1, 1]), ValueError, 'image 1 has label 3, outside of the 2 classes'),
    (([-1, 0], [1, 1]), ValueError, 'image 0 has label -1'),
    (([0], [1], 'random'), ValueError, "subset='random' is unknown"),
    (([0], [1], -1), ValueError, 'subset=-1 is no seed'),
    (([0], [1], True), TypeError, 'subset=True'),
    (([0], [1], 0.5), TypeError, 'subset=0.5'),
])
def test_bad_subsets(args, error, match):
    with pytest.raises(error, match=match):
        select_subset(*args)


def test_the_largest_class_keeps_its_images_and_the_hash_is_logged(capsys):
    from mmengine.logging import MMLogger
    MMLogger.get_instance('test_datasets_long_tail')
    labels = np.repeat([0, 1, 2], [60, 50, 40])
    indices = long_tail_indices(labels, 'abc', 10, 'exp', 'first', 'Toy')
    assert np.bincount(labels[indices]).tolist() == [60, 18, 6]
    printed = capsys.readouterr()
    assert f'hash {subset_hash(indices, labels)}' in printed.out + printed.err
