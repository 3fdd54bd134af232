"""Accuracy under several test priors, against a resampled test set; the metric through both evaluators and ranks."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.evaluator import Evaluator
from process_server import run_ranks
from references import posthoc as reference

from nbn_mm.datasets.class_counts import ClassCounts
from nbn_mm.datasets.label_batch import LabelBatch
from nbn_mm.evaluation import BatchEvaluator
from nbn_mm.evaluation.functional.test_priors import PRIORS, adapt_scores, named_prior, prior_accuracy
from nbn_mm.evaluation.metrics import TestPriorMetric

CLASSES = ('ant', 'bee', 'cat', 'dog')
COUNTS = ClassCounts(CLASSES, (30, 500, 4, 90))
ORDER = [1, 3, 0, 2]


def case(num=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 4
    scores = (2 * torch.randn(num, 4, generator=generator) + torch.tensor([0., 2., -2., 1.]) +
              2 * torch.eye(4)[labels]).softmax(1)
    return scores, labels


def samples(scores, labels):
    return [dict(pred_score=score, gt_label=label[None]) for score, label in zip(scores, labels, strict=True)]


def test_shares():
    np.testing.assert_allclose(named_prior('forward8', COUNTS.images), np.array([2, 8, 1, 4]) / 15)
    np.testing.assert_allclose(named_prior('backward8', COUNTS.images), np.array([4, 1, 8, 2]) / 15)
    np.testing.assert_allclose(named_prior('uniform', COUNTS.images), [.25] * 4)
    np.testing.assert_allclose(named_prior('forward1', COUNTS.images), [.25] * 4)
    np.testing.assert_allclose(named_prior('forward4', [7, 7, 7]), np.array([4, 2, 1]) / 7)  # equal counts: by index
    assert named_prior('forward9', [3]) == [1]


@pytest.mark.parametrize('factor', [2, 50])
@pytest.mark.parametrize('forward', [True, False])
def test_accuracy_is_that_of_a_resampled_test_set(factor, forward):
    scores, labels = case()
    metric = TestPriorMetric(priors=[f'{"forward" if forward else "backward"}{factor}'], class_counts=COUNTS.images)
    metric.process_batch(scores, labels)
    predicted = scores.argmax(1).tolist()
    expected = reference.accuracy_of_resampled(labels.tolist(), predicted, ORDER, factor, forward, 10**6)
    assert metric.compute_metrics(metric.results) == {f'{metric.priors[0]}_top1': pytest.approx(expected, abs=1e-3)}


def test_priors_differ_and_adaptation_is_seen():
    """Head classes are recognised better, so that the three test sets must be told apart."""
    scores, labels = case(400)
    metric = TestPriorMetric(adapt_from='train', topk=(1, 2), class_counts=COUNTS.images)
    metric.process_batch(scores, labels)
    values = metric.compute_metrics(metric.results)
    assert len(values) == 2 * 2 * len(PRIORS) == 44
    assert values['forward50_top1'] > values['uniform_top1'] > values['backward50_top1']
    assert values['backward50_adapted_top1'] > values['backward50_top1'] + 5
    for name in PRIORS:
        logits = scores.double().log() + torch.tensor(named_prior(name, COUNTS.images)).log() - torch.tensor(
            COUNTS.images).double().log()
        right = [float((logits.argmax(1) == labels)[labels == c].double().mean()) for c in range(4)]
        assert values[f'{name}_adapted_top1'] == pytest.approx(100 * np.dot(right, named_prior(name, COUNTS.images)))


def test_adapted_from_its_own_prior_changes_nothing():
    scores, labels = case()
    metric = TestPriorMetric(priors=['uniform'], adapt_from='uniform', class_counts=COUNTS.images)
    metric.process_batch(scores, labels)
    values = metric.compute_metrics(metric.results)
    assert values['uniform_adapted_top1'] == values['uniform_top1']


def test_underflowed_scores_and_classes_without_test_images():
    adapted = adapt_scores(torch.tensor([[1., 0.]]), [.9, .1], [.5, .5])
    assert adapted.isfinite().all()
    assert prior_accuracy([3, 0, 1], [4, 0, 4], [.5, .3, .2]) == pytest.approx(100 * (.5 * .75 + .2 * .25) / .7)


def test_evaluators_of_images_and_of_batches_agree():
    from mmpretrain.structures import DataSample
    scores, labels = case()
    results = []
    for kind in (Evaluator, BatchEvaluator):
        evaluator = kind([dict(type='TestPriorMetric', priors=('uniform', 'forward10'), adapt_from='train')])
        evaluator.dataset_meta = dict(classes=CLASSES)
        evaluator.metrics[0].set_class_counts(COUNTS)
        for rows in torch.arange(60).split(16):
            batch = LabelBatch(DataSample, rows.tolist(), gt_label=labels[rows], pred_score=scores[rows])
            evaluator.process(batch if kind is BatchEvaluator else list(batch), None)
        results.append(evaluator.evaluate(60))
    assert results[0] == results[1]
    assert set(results[0]) == {'prior/uniform_top1', 'prior/uniform_adapted_top1', 'prior/forward10_top1',
                               'prior/forward10_adapted_top1'}


def _rank(rank, folder):
    """Every second image of the test set, as a sampler of two ranks deals them; the last one is repeated."""
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    scores, labels = case(41)
    own = torch.arange(rank, 41 + 1, 2) % 41
    evaluator = Evaluator([dict(type='TestPriorMetric', class_counts=list(COUNTS.images), adapt_from='train')])
    evaluator.process(samples(scores[own], labels[own]))
    values = evaluator.evaluate(41)
    Path(folder, f'rank{rank}.json').write_text(json.dumps(values))
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    run_ranks(_rank, str(tmp_path))
    evaluator = Evaluator([dict(type='TestPriorMetric', class_counts=list(COUNTS.images), adapt_from='train')])
    evaluator.process(samples(*case(41)))
    expected = evaluator.evaluate(41)
    for rank in range(2):
        assert json.loads((tmp_path / f'rank{rank}.json').read_text()) == pytest.approx(expected)


@pytest.mark.parametrize('option, message', [
    (dict(priors=['sideways5']), "'sideways5' must be 'uniform'"), (dict(priors=['forward0.5']), 'at least 1'),
    (dict(priors=[]), 'at least one test prior'), (dict(priors=['uniform', 'uniform']), 'each once'),
    (dict(adapt_from='test'), "adapt_from='test'"), (dict(topk=0), 'must be an integer >= 1')])
def test_bad_options(option, message):
    with pytest.raises(ValueError, match=message):
        TestPriorMetric(**option)


def test_bad_scores_and_counts():
    scores, labels = case()
    metric = TestPriorMetric(adapt_from='train', class_counts=COUNTS.images)
    with pytest.raises(ValueError, match='only if they are probabilities'):
        metric.process_batch(scores * 3, labels)
    empty = TestPriorMetric(adapt_from='train')
    with pytest.raises(ValueError, match='no training images of bee'):
        empty.set_class_counts(ClassCounts(CLASSES, (3, 0, 4, 5)))
    with pytest.raises(RuntimeError, match='has no class counts'):
        TestPriorMetric().process_batch(scores, labels)
    with pytest.raises(ValueError, match='no test images'):
        metric.compute_metrics([])
