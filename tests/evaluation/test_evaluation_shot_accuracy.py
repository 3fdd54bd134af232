import math

import numpy as np
import pytest
import torch
from references import shot_metrics as reference

from nbn_mm.evaluation.functional import (
    check_topk,
    class_hits,
    group_accuracy_from_hits,
    group_of_class,
    harmonic_mean,
    per_class_accuracy,
    shot_group_accuracy,
    true_class_rank,
)

COUNTS = [500, 101, 100, 20, 19, 3, 0]  # 2 many, 2 medium, 3 few


def random_case(num=200, classes=7, dtype=torch.float32, seed=0, levels=None):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(num, classes, generator=generator)
    if levels:
        scores = (scores * levels).round() / levels
    return scores.to(dtype), torch.randint(classes, (num, ), generator=generator)


@pytest.mark.parametrize('average', ['micro', 'macro'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equals_the_slow_derivation(dtype, average):
    scores, labels = random_case(dtype=dtype)
    result = shot_group_accuracy(scores, labels, COUNTS, topk=(1, 3, 7), average=average)
    for k in (1, 3, 7):
        expected = reference.group_accuracy(scores.tolist(), labels.tolist(), COUNTS, k, average)
        assert {n: result.pop(f'{n}_top{k}') for n in expected} == pytest.approx(expected, rel=1e-12)
    assert not result


def test_micro_and_macro_differ_on_an_unbalanced_test_set():
    scores = torch.eye(2)[[0, 0, 0, 0]]
    labels = [0, 0, 0, 1]
    assert shot_group_accuracy(scores, labels, [500, 500], 1)['many_top1'] == 75
    assert shot_group_accuracy(scores, labels, [500, 500], 1, average='macro')['many_top1'] == 50


def test_equals_scikit_learn():
    metrics = pytest.importorskip('sklearn.metrics', reason='scikit-learn is the reference')
    scores, labels = random_case(num=400)
    result = shot_group_accuracy(scores, labels, COUNTS, topk=(1, 5))
    few = (labels >= 4).numpy()
    assert result['all_top1'] == pytest.approx(100 * metrics.accuracy_score(labels, scores.argmax(1)))
    assert result['few_top5'] == pytest.approx(
        100 * metrics.top_k_accuracy_score(labels[few], scores[few], k=5, labels=range(7)))
    recall = metrics.recall_score(labels, scores.argmax(1), average=None)
    np.testing.assert_allclose(per_class_accuracy(scores, labels), 100 * recall)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_ties_go_to_the_lower_class(dtype):
    scores, labels = random_case(dtype=dtype, levels=1)
    assert (scores.sort(1).values.diff(dim=1) == 0).any()
    result = shot_group_accuracy(scores, labels, COUNTS, topk=(1, 2))
    for k in (1, 2):
        expected = reference.group_accuracy(scores.tolist(), labels.tolist(), COUNTS, k)
        assert {n: result[f'{n}_top{k}'] for n in expected} == pytest.approx(expected)
    assert true_class_rank(torch.zeros(3, 3), [0, 1, 2]).tolist() == [0, 1, 2]


def test_float16_overflow_counts_as_a_tie():
    scores = torch.tensor([[7e4, 1e5, 1.0]]).half()  # both become inf
    assert true_class_rank(scores, [1]).tolist() == [1]


@pytest.mark.parametrize('kind', [np.asarray, torch.as_tensor, list])
def test_takes_arrays_tensors_and_lists(kind):
    scores = kind([[0.1, 0.9], [0.8, 0.2]])
    assert dict(shot_group_accuracy(scores, kind([1, 1]), [500, 5], topk=1)) == {
        'all_top1': 50, 'few_top1': 50, 'hmean_top1': 50}


def test_classes_without_test_images():
    scores = torch.eye(7)[[0, 0, 2, 2]]
    result = shot_group_accuracy(scores, [0, 1, 2, 2], COUNTS, topk=1, average='macro')
    assert dict(result) == pytest.approx(dict(all_top1=200 / 3, many_top1=50, medium_top1=100, hmean_top1=200 / 3))
    assert np.isnan(per_class_accuracy(scores, [0, 1, 2, 2])).tolist() == [False] * 3 + [True] * 4


def test_absent_groups_are_absent():
    scores, labels = random_case(classes=2)
    assert list(shot_group_accuracy(scores, labels, [500, 400], topk=1)) == ['all_top1', 'many_top1', 'hmean_top1']


def test_thresholds():
    scores, labels = random_case(classes=2)
    names = set(shot_group_accuracy(scores, labels, [30, 10], topk=1, few=5, many=20))
    assert names == {'all_top1', 'many_top1', 'medium_top1', 'hmean_top1'}


def test_one_class():
    assert dict(shot_group_accuracy(torch.zeros(3, 1), [0, 0, 0], [50], topk=1)) == dict(
        all_top1=100, medium_top1=100, hmean_top1=100)


def test_a_group_of_zero_makes_the_harmonic_mean_zero():
    scores = torch.eye(3)[[0, 1, 0]]
    result = shot_group_accuracy(scores, [0, 1, 2], [500, 50, 5], topk=1)
    assert result['few_top1'] == 0 and result['hmean_top1'] == 0


def test_harmonic_mean():
    assert harmonic_mean([50, 100]) == pytest.approx(200 / 3)
    assert harmonic_mean([42.0]) == pytest.approx(42.0)
    assert harmonic_mean([0, 90]) == 0


@pytest.mark.parametrize('values, message', [([], 'no values'), ([-1, 2], r'-1\.0'), ([math.nan, 3], 'nan')])
def test_harmonic_mean_refuses(values, message):
    with pytest.raises(ValueError, match=message):
        harmonic_mean(values)


def test_group_of_class():
    assert group_of_class(COUNTS) == ('many', 'many', 'medium', 'medium', 'few', 'few', 'few')


@pytest.mark.parametrize('topk', [0, -1, (1, 0), 1.5, True, (1, 1), (), 'all'])
def test_topk_refused(topk):
    with pytest.raises(ValueError, match='topk'):
        check_topk(topk)


@pytest.mark.parametrize('change, error, message', [
    (dict(topk=(1, 8)), ValueError, r'top-8 is not defined for 7 classes.*`topk` of the metric'),
    (dict(average='mean'), ValueError, "average='mean'"),
    (dict(counts=[1, 2]), ValueError, 'hold 2 classes, but the scores have 7'),
    (dict(labels=[0] * 199 + [7]), ValueError, 'label 7 of test image 199 lies outside of the 7 classes'),
    (dict(labels=[0] * 199 + [-1]), ValueError, 'label -1 of test image 199'),
    (dict(labels=[0] * 3), ValueError, '3 labels for 200 rows'),
    (dict(labels=[[0]] * 200), ValueError, r'shape \(N,\), got \(200, 1\)'),
    (dict(labels=[0.5] * 200), TypeError, 'integers, got torch.float32'),
    (dict(scores=torch.zeros(200)), ValueError, r'shape \(N, C\)'),
    (dict(scores=torch.full((200, 7), math.nan)), ValueError, r'test image 0 are NaN \(200 of 200'),
    (dict(scores=torch.zeros(0, 7), labels=[]), ValueError, 'no test images'),
])
def test_refused(change, error, message):
    scores, labels = random_case()
    arguments = dict(scores=scores, labels=labels, counts=COUNTS, topk=1)
    arguments.update(change)
    with pytest.raises(error, match=message):
        shot_group_accuracy(**arguments)


def test_hits_refuse_other_lengths():
    with pytest.raises(ValueError, match='ranks'):
        class_hits([0, 1], [0], 2)
    with pytest.raises(ValueError, match='hold 3 classes'):
        group_accuracy_from_hits(*class_hits([0, 1], [0, 1], 2), [1, 2, 3])
