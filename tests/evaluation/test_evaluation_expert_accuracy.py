"""Accuracy of each expert against loops; the registered metric with samples, batches and routing."""
import numpy as np
import pytest
import torch

from nbn_mm.datasets import ClassCounts, LabelBatch
from nbn_mm.evaluation import BatchEvaluator
from nbn_mm.evaluation.functional.expert_accuracy import expert_accuracy
from nbn_mm.evaluation.metrics import ExpertAccuracyMetric

COUNTS = (300, 60, 50, 3)
GROUPS = dict(many=[0], medium=[1, 2], few=[3])
RECORD = ClassCounts(classes=tuple('abcd'), images=COUNTS)


def draw(number=60, experts=3, routed=False):
    random = np.random.RandomState(0)
    labels, predictions = random.randint(4, size=(2, number))
    given = random.randint(4, size=(number, experts))
    if routed:
        used = random.randint(1, experts + 1, size=number)
        given[np.arange(experts)[None] >= used[:, None]] = -1
    return labels, predictions, given


def slow(labels, predicted, classes=range(4)):
    rows = [(a, b) for a, b in zip(labels, predicted, strict=True) if a in classes and b != -1]
    return 100 * sum(a == b for a, b in rows) / len(rows)


@pytest.mark.parametrize('routed', [False, True])
def test_each_figure(routed):
    labels, predictions, given = draw(routed=routed)
    found = expert_accuracy(labels, predictions, given, COUNTS)
    for name, column in [('ensemble', predictions), *((str(k), given[:, k]) for k in range(3))]:
        assert found[f'{name}_top1'] == pytest.approx(slow(labels, column))
        for group, classes in GROUPS.items():
            assert found[f'{name}_{group}_top1'] == pytest.approx(slow(labels, column, classes))
    pairs = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        both = [(a, b) for a, b in zip(given[:, i], given[:, j], strict=True) if a != -1 and b != -1]
        pairs.append(100 * sum(a != b for a, b in both) / len(both))
    assert found['disagreement'] == pytest.approx(sum(pairs) / 3)
    assert ('mean_used' in found) == routed
    if routed:
        assert found['mean_used'] == pytest.approx(sum((row != -1).sum() for row in given) / len(given))
        assert [found[f'{k}_asked'] for k in range(3)] == [pytest.approx(100 * (given[:, k] != -1).mean())
                                                           for k in range(3)]


def test_an_expert_that_is_never_asked_has_no_accuracy():
    found = expert_accuracy([0, 1], [0, 1], [[0, -1], [1, -1]], COUNTS)
    assert '1_top1' not in found and found['1_asked'] == 0 and found['mean_used'] == 1 and found['0_top1'] == 100
    assert 'disagreement' not in found


@pytest.mark.parametrize('predictions', [[0, 1, 2], [0]])
def test_shapes(predictions):
    with pytest.raises(ValueError, match=r'must be \(N,\) and \(N, E\)'):
        expert_accuracy([0, 1], predictions, [[0, 1]] * len(predictions), COUNTS)


def metric():
    found = ExpertAccuracyMetric()
    found.set_class_counts(RECORD)
    found.dataset_meta = dict(classes=tuple('abcd'))
    return found


class Sample(dict):
    """What a batch of labels makes a sample of, without a host."""

    def __init__(self, metainfo=None):
        super().__init__()

    def __getattr__(self, name):
        return lambda value, key=name[4:]: self.__setitem__(key, value)

    def set_field(self, value, name):
        self[name] = value

    def to_dict(self):
        return self


def test_samples_and_batches_agree():
    labels, predictions, given = map(torch.as_tensor, draw())
    evaluators = [BatchEvaluator([metric()]) for _ in range(2)]
    for evaluator in evaluators:
        evaluator.dataset_meta = dict(classes=tuple('abcd'))
    for rows in (slice(0, 25), slice(25, 60)):
        batch = LabelBatch(Sample, range(60)[rows], gt_label=labels[rows], pred_label=predictions[rows],
                           expert_label=given[rows])
        evaluators[0].process(batch)
        evaluators[1].process([dict(sample) for sample in batch])
    first, second = (evaluator.evaluate(60) for evaluator in evaluators)
    assert first == second and set(first) >= {'expert/ensemble_top1', 'expert/2_few_top1', 'expert/disagreement'}
    expected = expert_accuracy(labels, predictions, given, COUNTS)
    assert first == {f'expert/{key}': value for key, value in expected.items()}


def test_refused():
    found = metric()
    with pytest.raises(KeyError, match="ExpertAccuracyMetric needs 'expert_label' of each image.*MultiExpertClsHead"):
        found.process(None, [dict(gt_label=torch.tensor([0]), pred_label=torch.tensor([1]))])
    with pytest.raises(KeyError, match="needs 'expert_label'"):
        found.process_label_batch(LabelBatch(Sample, [0], gt_label=torch.tensor([0]), pred_label=torch.tensor([1])))
    with pytest.raises(RuntimeError, match='has no class counts'):
        ExpertAccuracyMetric().process(None, [])
