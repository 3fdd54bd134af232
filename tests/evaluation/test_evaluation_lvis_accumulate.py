import pickle

import numpy as np
import pytest
from references.lvis_cases import random_annotations, random_detections
from references.lvis_curves import curves

from nbn_mm.evaluation.functional import (
    LVISAccumulator,
    LVISGroundTruth,
    LVISMatcher,
    LVISRecords,
    frequency_by_size,
    per_class,
    summarize,
)
from nbn_mm.evaluation.functional.lvis_accumulate import precision_recall


@pytest.fixture(scope='module')
def case():
    """Ground truth and the records of its images, by ascending id."""
    rng = np.random.default_rng(0)
    annotations = random_annotations(rng, num_images=16)
    truth = LVISGroundTruth(annotations)
    label_of = {cat_id: label for label, cat_id in enumerate(truth.cat_ids.tolist())}
    records = []
    for img_id, (scores, cat_ids, boxes, _) in sorted(random_detections(rng, annotations).items()):
        labels = np.array([label_of[cat_id] for cat_id in cat_ids])
        records.append(LVISMatcher(truth).match(img_id, np.array(scores), labels, np.array(boxes)))
    return truth, records


def accumulate(truth, records):
    accumulator = LVISAccumulator(truth, 'bbox')
    for entry in records:
        accumulator.add(entry)
    return accumulator.accumulate()


def assert_same(result, expected):
    assert np.array_equal(result.precision, expected.precision) and np.array_equal(result.recall, expected.recall)


def test_any_order(case):
    truth, records = case
    expected = accumulate(truth, records)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(records))
        assert_same(accumulate(truth, [records[index] for index in order]), expected)


def test_shards_of_ranks_with_padding(case):
    """Uneven shards, sent as bytes, with the first images again at the end: as a distributed sampler pads."""
    truth, records = case
    shards = [records[0::2], records[1::2] + records[:2]]
    sent = pickle.loads(pickle.dumps([entry for shard in shards for entry in shard]))
    assert_same(accumulate(truth, sent), accumulate(truth, records))


def test_an_image_counts_once(case):
    truth, records = case
    accumulator = LVISAccumulator(truth, 'bbox')
    for entry in (records[0], records[0], records[1]):
        accumulator.add(entry)
    assert len(accumulator) == 2


def test_missing_images_count_with_their_annotations(case):
    truth, records = case
    some, everything = accumulate(truth, records[:3]), accumulate(truth, records)
    assert np.array_equal(some.recall == -1, everything.recall == -1)
    assert some.recall.mean() < everything.recall.mean()


def test_nothing_at_all(case):
    truth, _ = case
    result = accumulate(truth, [])
    assert set(result.recall.ravel().tolist()) == {-1.0, 0.0} == set(result.precision.ravel().tolist())


def test_an_unknown_image(case):
    truth, records = case
    stranger = LVISRecords(-1, *(getattr(records[0], name) for name in ('labels', 'scores', 'true', 'false')))
    with pytest.raises(ValueError, match='image id -1 is not among'):
        LVISAccumulator(truth, 'bbox').add(stranger)


@pytest.mark.parametrize('num', [0, 1, 7, 200])
def test_curves_equal_the_slow_derivation(num):
    """Outcomes at random for each threshold and area range, among them detections that meet no annotation."""
    rng = np.random.default_rng(num)
    outcomes = rng.choice(['true', 'false', 'ignored'], (num, 4, 10), p=[0.2, 0.5, 0.3])
    plain = rng.random(num) < 0.5
    outcomes[plain] = np.where(rng.random((plain.sum(), 4, 1)) < 0.7, 'false', 'ignored')
    bits = np.uint64(1) << np.arange(40, dtype=np.uint64)

    def sets(outcome):
        return ((outcomes == outcome).reshape(num, 40) * bits).sum(axis=1, dtype=np.uint64)

    annotations = np.maximum((outcomes == 'true').sum(axis=0).max(axis=1, initial=0), 1) + [0, 3, 1, 40]
    precision, recall = precision_recall(sets('true'), sets('false'), annotations)
    for area in range(4):
        for threshold in range(10):
            expected = curves(outcomes[:, area, threshold].tolist(), int(annotations[area]))
            assert precision[threshold, :, area] == pytest.approx(expected[0], abs=1e-12)
            assert recall[threshold, area] == pytest.approx(expected[1], abs=1e-12)


def test_per_class_and_frequency_by_size(case):
    truth, records = case
    result = accumulate(truth, records)
    ap = per_class(result)
    assert np.isnan(ap).any() and not np.isnan(ap).all()
    for label, value in enumerate(ap):
        entries = [v for v in result.precision[:, :, label, 0].ravel() if v > -1]
        assert value == pytest.approx(sum(entries) / len(entries)) if entries else np.isnan(value)
    groups = frequency_by_size(result, truth.frequencies)
    assert list(groups) == [(group, size) for group in 'rcf' for size in 'sml']
    for (group, size), value in groups.items():
        members = [label for label, frequency in enumerate(truth.frequencies) if frequency == group]
        entries = [v for label in members for v in result.precision[:, :, label, ' sml'.index(size)].ravel() if v > -1]
        assert value == pytest.approx(sum(entries) / len(entries) if entries else -1)


def test_summary_keys(case):
    truth, records = case
    result = accumulate(truth, records)
    keys = ['AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf', 'AR@300', 'ARs@300', 'ARm@300', 'ARl@300']
    assert list(summarize(result, truth.frequencies)) == keys
    without = summarize(result, None)
    assert list(without) == [key for key in keys if key not in ('APr', 'APc', 'APf')]
    only_rare = summarize(result, ['r'] * len(truth.cat_ids))
    assert only_rare['APr'] == only_rare['AP'] == without['AP'] and only_rare['APf'] == -1
    with pytest.raises(ValueError, match='2 frequencies for 9 categories'):
        summarize(result, ['r', 'c'])
