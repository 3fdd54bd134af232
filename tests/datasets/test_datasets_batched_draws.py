"""The distribution of what the batched pipeline draws, against the per-image transforms and the published policy."""
from collections import Counter
from itertools import product

import numpy as np
import pytest

from nbn_mm.datasets.transforms import CIFAR10_POLICY, SIGNED, BatchedPipeline, CIFARAutoAugment, magnitude_of

stats = pytest.importorskip('scipy.stats', reason='needs SciPy')
NUMBER = 20000
RECIPE = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.3, direction='horizontal'),
    dict(type='CIFARAutoAugment'),
    dict(type='CIFARCutout', size=16),
]


@pytest.fixture(scope='module')
def drawn():
    """Pipeline and 20,000 draws, a batch of 500 at a time from one generator."""
    pipeline, generator = BatchedPipeline(RECIPE), np.random.default_rng(11)
    plans = [pipeline.draw(generator, 500, 32, 32) for _ in range(NUMBER // 500)]
    return pipeline, [{key: np.concatenate([plan.draws[i][key] for plan in plans]) for key in keys}
                      for i, keys in enumerate([('top', 'left', 'flip'), ('policy', 'chosen'), ('row', 'column')])]


def _p_value(observed, expected):
    """Of a chi-square test; rare categories (expected below 5) count as one."""
    observed, expected = np.asarray(observed, float), np.asarray(expected, float)
    rare = expected < 5
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    kept = expected > 0
    assert observed[~kept].sum() == 0, 'something impossible was drawn'
    return stats.chisquare(observed[kept], expected[kept]).pvalue


def _signed(name, level):
    magnitude = magnitude_of(name, level)
    return [(name, magnitude), (name, -magnitude)] if name in SIGNED else [(name, magnitude)]


def _published():
    """Probability of each (sub-policy, operations with their signed magnitudes), from the policy's table."""
    chances = Counter()
    for policy, pair in enumerate(CIFAR10_POLICY):
        outcomes = []
        for name, probability, level in pair:
            values = _signed(name, level)
            outcomes.append([((), 1 - probability)] + [((value, ), probability / len(values)) for value in values])
        for (first, p), (second, q) in product(*outcomes):
            chances[policy, first + second] += p * q / len(CIFAR10_POLICY)
    return chances


def test_policies_operations_and_signs_are_the_published_ones(drawn):
    pipeline, (_, policies, _) = drawn
    seen = Counter(zip(policies['policy'].tolist(), map(tuple, pipeline.transforms[1].steps(policies)), strict=True))
    chances = _published()
    assert sum(chances.values()) == pytest.approx(1) and set(seen) <= {key for key, p in chances.items() if p}
    assert _p_value([seen[key] for key in chances], [NUMBER * p for p in chances.values()]) > 0.001


def test_operations_are_drawn_as_for_single_images(drawn):
    """Two samples: the batched draws and those of ``CIFARAutoAugment``."""
    pipeline, (_, policies, _) = drawn
    np.random.seed(0)
    single = CIFARAutoAugment()
    theirs = Counter(tuple(single.draw()) for _ in range(NUMBER))
    ours = Counter(map(tuple, pipeline.transforms[1].steps(policies)))
    keys = set(ours) | set(theirs)
    common = [key for key in keys if ours[key] + theirs[key] >= 10]
    table = np.array([[count[key] for key in common] + [sum(count[key] for key in keys - set(common))]
                      for count in (ours, theirs)])
    table = table[:, table.sum(0) > 0]
    assert len(common) > 80 and stats.chi2_contingency(table).pvalue > 0.001


def test_offsets_flips_and_centres(drawn):
    _, (crops, _, cuts) = drawn
    offsets = np.bincount(crops['top'] * 9 + crops['left'], minlength=81)
    assert len(offsets) == 81 and _p_value(offsets, np.full(81, NUMBER / 81)) > 0.001
    flips = np.bincount(crops['flip'].astype(int), minlength=2)
    assert _p_value(flips, [0.7 * NUMBER, 0.3 * NUMBER]) > 0.001
    centres = np.bincount(cuts['row'] * 32 + cuts['column'], minlength=1024)
    assert len(centres) == 1024 and _p_value(centres, np.full(1024, NUMBER / 1024)) > 0.001


def test_choices_are_independent_of_each_other(drawn):
    _, (crops, policies, cuts) = drawn
    policy = policies['policy']
    for a, b in ((crops['flip'], crops['left']), (crops['flip'], policy), (policy, cuts['row'] // 4),
                 (crops['top'], cuts['row'] // 4), (policy[1:], policy[:-1])):
        table = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
        np.add.at(table, (a.astype(int), b.astype(int)), 1)
        assert stats.chi2_contingency(table).pvalue > 0.001


def test_the_test_sees_a_wrong_policy():
    """Positive signs that come a tenth too often are found at this size."""
    chances = _published()
    random, keys = np.random.default_rng(0), list(chances)
    weights = np.array([p * (1.1 if any(m > 0 for o, m in key[1] if o in SIGNED) else 1) for key, p in chances.items()])
    seen = random.multinomial(NUMBER, weights / weights.sum())
    assert _p_value(seen, [NUMBER * chances[key] for key in keys]) < 0.001


def test_the_chances_behind_the_capacities_are_the_rates(drawn):
    pipeline, (_, policies, _) = drawn
    augment = pipeline.transforms[1]
    for step in (0, 1):
        rate = sum(pair[step][1] for pair in CIFAR10_POLICY) / len(CIFAR10_POLICY)
        assert augment.chances[step].sum() == pytest.approx(rate)
        seen = np.bincount(policies['chosen'][:, step] + 1, minlength=1 + len(augment.operations.entries))
        expected = NUMBER * np.append(1 - rate, augment.chances[step])
        assert _p_value(seen, expected) > 0.001
