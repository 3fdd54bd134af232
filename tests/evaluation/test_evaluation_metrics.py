import json
import os

import pytest
import torch
from mmengine.dataset import BaseDataset, DefaultSampler, pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.registry import METRICS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, LabelData
from process_server import run_ranks
from references import shot_metrics as reference

from nbn_mm.datasets.class_counts import ClassCounts
from nbn_mm.evaluation import CalibrationMetric, ShotGroupMetric
from nbn_mm.evaluation.functional import read_class_csv, read_last_evaluation, shot_group_calibration_error

CLASSES = ('cat', 'dog', 'eel', 'fox', 'gnu', 'hen')
COUNTS = ClassCounts(CLASSES, (400, 150, 60, 20, 10, 2))


def case(num=41, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = (2 * torch.randn(num, 6, generator=generator)).softmax(1)
    return scores, torch.randint(6, (num, ), generator=generator)


def as_samples(scores, labels):
    return [dict(pred_score=score, gt_label=label[None], pred_label=score.argmax()[None])
            for score, label in zip(scores, labels, strict=True)]


def expected(scores, labels, topk=(1, 5)):
    result = {}
    for k in topk:
        values = reference.group_accuracy(scores.tolist(), labels.tolist(), COUNTS.images, k)
        result.update({f'shot/{name}_top{k}': value for name, value in values.items()})
    errors = shot_group_calibration_error(*_confidence(scores, labels), labels, COUNTS.images)
    result.update({f"calibration/{'ece' if name == 'all' else f'ece_{name}'}": value for name, value in errors.items()})
    return result


def _confidence(scores, labels):
    confidence, predicted = scores.max(1)
    return confidence, predicted == labels


def both(**kwargs):
    return [dict(type='ShotGroupMetric', **kwargs), dict(type='CalibrationMetric')]


def test_evaluator_with_data_elements_and_batches():
    scores, labels = case()
    evaluator = Evaluator(both())
    evaluator.dataset_meta = dict(classes=CLASSES)
    for metric in evaluator.metrics:
        metric.set_class_counts(COUNTS)
    for start in range(0, len(labels), 16):
        evaluator.process([BaseDataElement(**sample)
                           for sample in as_samples(scores[start:start + 16], labels[start:start + 16])])
    assert evaluator.evaluate(len(labels)) == pytest.approx(expected(scores, labels))


def test_the_samples_of_mmpretrain():
    structures = pytest.importorskip('mmpretrain.structures', reason='takes data samples of mmpretrain')
    scores, labels = case()
    samples = [structures.DataSample().set_gt_label(int(label)).set_pred_score(score)
               for score, label in zip(scores, labels, strict=True)]
    metric = ShotGroupMetric(class_counts=list(COUNTS.images))
    assert {k: v for k, v in Evaluator(metric).offline_evaluate(samples, chunk_size=10).items()} == pytest.approx(
        {k: v for k, v in expected(scores, labels).items() if k.startswith('shot')})


def test_results_are_small():
    metric = ShotGroupMetric(class_counts=[5] * 1000)
    metric.process(None, as_samples(torch.rand(4, 1000), torch.arange(4)))
    assert all(isinstance(value, int) for result in metric.results for value in result)
    assert [len(result) for result in metric.results] == [2] * 4


def test_half_precision_scores():
    scores, labels = case()
    metric = ShotGroupMetric(topk=(1, ), class_counts=list(COUNTS.images))
    result = Evaluator(metric).offline_evaluate(as_samples(scores.half(), labels))
    assert result == pytest.approx({k: v for k, v in expected(scores.half(), labels, (1, )).items() if 'shot' in k})
    Evaluator(CalibrationMetric(class_counts=list(COUNTS.images))).offline_evaluate(as_samples(scores.half(), labels))


def _rank(rank, folder, num):
    os.chdir(folder)
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    scores, labels = case(num)
    indices = list(DefaultSampler(range(num), shuffle=False))  # pads to equal lengths
    evaluator = Evaluator(both(per_class_csv=f'{folder}/{num}.csv'))
    for metric in evaluator.metrics:
        metric.set_class_counts(COUNTS)
    for start in range(0, len(indices), 8):
        chosen = indices[start:start + 8]
        evaluator.process(as_samples(scores[chosen], labels[chosen]))
    with open(f'{folder}/rank{rank}.json', 'w') as file:
        json.dump(evaluator.evaluate(num), file)
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('num', [40, 41])
def test_two_processes_equal_one(tmp_path, num):
    run_ranks(_rank, str(tmp_path), num)
    for rank in range(2):
        assert json.loads((tmp_path / f'rank{rank}.json').read_text()) == pytest.approx(expected(*case(num)))
    assert sum(row['test_images'] for row in read_class_csv(tmp_path / f'{num}.csv')) == num


class Replay(BaseModel):
    """Gives stored scores back."""

    def __init__(self, scores):
        super().__init__()
        self.register_buffer('scores', scores)

    def forward(self, index, label, mode='predict'):
        samples = []
        for i, y in zip(index, label, strict=True):
            sample = BaseDataElement()
            sample.pred_score, sample.gt_label = self.scores[i], torch.tensor([y])
            samples.append(sample)
        return samples


class Labels(BaseDataset):
    """The case's labels as a data set."""

    def load_data_list(self):
        return [dict(index=i, label=int(y), gt_label=int(y)) for i, y in enumerate(case()[1])]


def run_test(tmp_path, evaluator, hooks, classes=CLASSES, **settings):
    scores, _ = case()
    loader = dict(batch_size=8, dataset=Labels(metainfo=dict(classes=classes)), num_workers=0,
                  sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=collate)
    runner = Runner(model=Replay(scores), work_dir=str(tmp_path), test_dataloader=loader, test_evaluator=evaluator,
                    test_cfg=dict(), default_hooks=hooks, experiment_name=f'metrics_{tmp_path.name}',
                    default_scope='mmengine', **settings)
    return runner, runner.test


def collate(batch):
    batch = pseudo_collate(batch)
    return dict(index=batch['index'], label=batch['label'])


HOOK = dict(class_counts=dict(type='ClassCountsHook', class_counts=list(COUNTS.images)))


def test_runner_with_the_hook_and_its_log(tmp_path):
    runner, test = run_test(tmp_path, both(per_class_csv=str(tmp_path / 'classes.csv')), HOOK)
    metrics = test()
    assert metrics == pytest.approx(expected(*case()))
    log = (tmp_path / runner.timestamp / f'{runner.timestamp}.log').read_text()
    assert f"shot/many_top1: {metrics['shot/many_top1']:.4f}" in log and 'calibration/ece_few' in log
    rows = read_class_csv(tmp_path / 'classes.csv')
    assert [row['class'] for row in rows] == list(CLASSES)
    assert [row['train_images'] for row in rows] == list(COUNTS.images)
    assert read_last_evaluation(tmp_path)[0] == pytest.approx(
        {key[5:]: value for key, value in metrics.items() if key.startswith('shot/')})


def test_runner_without_counts_says_which_line_is_missing(tmp_path):
    _, test = run_test(tmp_path, both(), {})
    with pytest.raises(RuntimeError, match=r"default_hooks = dict\(class_counts=dict\(type='ClassCountsHook'\)\)"):
        test()


def test_runner_refuses_counts_of_another_length_before_the_first_batch(tmp_path):
    runner, test = run_test(tmp_path, both(), HOOK, classes=CLASSES[:5])
    with pytest.raises(ValueError, match='hold 6 classes, but the test set has 5'):
        test()
    assert not runner.test_loop.evaluator.metrics[0].results


@pytest.mark.parametrize('given', [list(COUNTS.images), dict(zip(CLASSES[::-1], COUNTS.images[::-1], strict=True))])
def test_counts_in_the_metric_override_the_hook(tmp_path, given):
    path = tmp_path / 'counts.json'
    path.write_text(json.dumps(given))
    for value in (given, str(path)):
        metric = ShotGroupMetric(class_counts=value)
        metric.dataset_meta = dict(classes=CLASSES)
        metric.set_class_counts(ClassCounts(CLASSES, (1, ) * 6))
        assert metric.counts.images == COUNTS.images and metric.counts.classes == CLASSES
        assert not metric.class_counts_at_test and ShotGroupMetric().class_counts_at_test


def test_counts_in_the_metric_of_another_length():
    metric = ShotGroupMetric(class_counts=[5, 5])
    with pytest.raises(ValueError, match='`class_counts` of ShotGroupMetric.*2 classes.*num_classes=6'):
        metric.dataset_meta = dict(classes=CLASSES)
    with pytest.raises(ValueError, match='of CalibrationMetric hold 2 classes, but each pred_score has 6'):
        CalibrationMetric(class_counts=[5, 5]).process(None, as_samples(*case()))
    with pytest.raises(FileNotFoundError, match='`class_counts` of ShotGroupMetric'):
        ShotGroupMetric(class_counts='gone.json')


def test_classes_in_another_order():
    metric = ShotGroupMetric()
    metric.dataset_meta = dict(classes=CLASSES)
    with pytest.raises(ValueError, match="different orders; label 0 is 'hen' in the class counts and 'cat'"):
        metric.set_class_counts(ClassCounts(CLASSES[::-1], COUNTS.images))


def test_topk_beyond_the_classes_is_refused_with_the_counts():
    metric = ShotGroupMetric(topk=(1, 7))
    with pytest.raises(ValueError, match='top-7 is not defined for 6 classes'):
        metric.set_class_counts(COUNTS)


@pytest.mark.parametrize('options, error, message', [
    (dict(topk=0), ValueError, 'topk=0'),
    (dict(average='x'), ValueError, "average='x'"),
    (dict(per_class_csv='a.txt'), ValueError, "'a.txt'.*must end in .csv"),
    (dict(few=200), ValueError, 'few=200 and many=100 overlap'),
    (dict(type='CalibrationMetric', num_bins=0), ValueError, 'num_bins=0'),
])
def test_options_refused(options, error, message):
    with pytest.raises(error, match=message):
        METRICS.build({'type': 'ShotGroupMetric', **options})


@pytest.mark.parametrize('sample, error, message', [
    (dict(gt_label=torch.tensor([1])), KeyError, "needs 'pred_score'"),
    (dict(pred_score=torch.zeros(6)), KeyError, "needs 'gt_label'"),
    (dict(pred_score=torch.zeros(6), gt_label=torch.tensor([1, 2])), ValueError, r'one class per image.*\[1, 2\]'),
    (dict(pred_score=torch.zeros(6), gt_label=torch.tensor([6])), ValueError, 'label 6'),
    (dict(pred_score=torch.zeros(5), gt_label=torch.tensor([1])), ValueError, '6 classes, but each pred_score has 5'),
])
def test_samples_refused(sample, error, message):
    metric = ShotGroupMetric()
    metric.set_class_counts(COUNTS)
    with pytest.raises(error, match=message):
        metric.process(None, [sample])


def test_calibration_refuses_logits():
    metric = CalibrationMetric(class_counts=list(COUNTS.images))
    with pytest.raises(ValueError, match='largest score of an image is 9'):
        metric.process(None, as_samples(torch.full((1, 6), 9.0), torch.tensor([0])))


def test_no_images_is_an_error():
    for metric in (ShotGroupMetric(class_counts=[5] * 6), CalibrationMetric(class_counts=[5] * 6)):
        with pytest.raises(ValueError, match='no test images'):
            metric.evaluate(0)


def test_one_hot_labels_are_no_labels():
    label = LabelData.label_to_onehot(torch.tensor([1]), 6)
    metric = ShotGroupMetric(class_counts=list(COUNTS.images))
    with pytest.raises(ValueError, match='one class per image'):
        metric.process(None, [dict(pred_score=torch.zeros(6), gt_label=label)])


def test_numbers_as_names_in_another_order():
    """Folders sorted as text and classes sorted as numbers."""
    names = tuple(map(str, range(12)))
    metric = ShotGroupMetric()
    metric.dataset_meta = dict(classes=sorted(names))
    with pytest.raises(ValueError, match="label 2 is '2' in the class counts and '10' in the test set"):
        metric.set_class_counts(ClassCounts(names, range(1, 13)))
