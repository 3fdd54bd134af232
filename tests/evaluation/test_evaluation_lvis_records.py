import pickle

import numpy as np
import pytest

from nbn_mm.evaluation.functional import LVISRecords

ALL, FIRST = (1 << 40) - 1, 1 | 1 << 10 | 1 << 20 | 1 << 30


def random_records(number, classes=1203, dtype=np.float32, plain=0.9, seed=0):
    """Random sets of (area range, threshold); of the plain ones whole area ranges or none."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, number, dtype=np.int32)
    true = rng.integers(0, ALL, number, dtype=np.uint64)
    false = rng.integers(0, ALL, number, dtype=np.uint64) & ~true
    areas = [sum(1023 << (10 * area) for area in range(4) if bits >> area & 1) for bits in range(16)]
    where = rng.random(number) < plain
    true[where] = 0
    false[where] = np.array(areas, dtype=np.uint64)[rng.integers(0, 16, where.sum())]
    return LVISRecords(7, labels, rng.random(number).astype(dtype), true, false), where


def equal(first, second):
    return first.img_id == second.img_id and all(
        getattr(first, name).dtype == getattr(second, name).dtype
        and np.array_equal(getattr(first, name), getattr(second, name))
        for name in ('labels', 'scores', 'true', 'false'))


@pytest.mark.parametrize('protocol', [2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize('options', [
    dict(number=300), dict(number=0), dict(number=1, plain=0), dict(number=64, plain=0), dict(number=64, plain=1),
    dict(number=50, classes=200), dict(number=50, classes=100_000), dict(number=50, dtype=np.float64)])
def test_nothing_is_lost_between_processes(options, protocol):
    records, _ = random_records(**options)
    assert equal(pickle.loads(pickle.dumps(records, protocol)), records)


def test_a_few_bytes_a_detection():
    """Label 2, score 4, areas 1; what meets an annotation takes 20 more. mmengine pickles by protocol 2."""
    records, plain = random_records(300)
    size = len(pickle.dumps(records))
    assert 300 * 7 + 20 * (~plain).sum() <= size < 300 * 7 + 20 * (~plain).sum() + 200
    plain_only, _ = random_records(300, plain=1)
    assert len(pickle.dumps(plain_only, 2)) < 300 * 11 < plain_only.nbytes / 2


def test_plain_by_definition():
    records, made = random_records(200, plain=0.5)
    plain, bits = records.plain()
    for index in range(200):
        true, false = int(records.true[index]), int(records.false[index])
        ranges = [false >> (10 * area) & 1023 for area in range(4)]
        assert plain[index] == (true == 0 and all(bits in (0, 1023) for bits in ranges))
        assert int(bits[index]) == false & FIRST
    assert (plain | ~made).all() and not plain.all()
