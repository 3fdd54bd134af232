import json

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import METRICS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from references.lvis_cases import random_annotations, random_detections
from references.lvis_samples import data_samples

from nbn_mm.datasets.class_counts import ClassCounts
from nbn_mm.evaluation import StreamingLVISMetric
from nbn_mm.evaluation.metrics import lvis_checks

RNG = np.random.default_rng(5)
ANNOTATIONS = random_annotations(RNG, num_images=6, num_classes=6)
DETECTIONS = random_detections(RNG, ANNOTATIONS)
NAMES = [c['name'] for c in sorted(ANNOTATIONS['categories'], key=lambda c: c['id'])]


@pytest.fixture
def ann_file(tmp_path):
    return write(tmp_path)


def write(folder, without=(), **changes):
    content = dict(ANNOTATIONS, **changes)
    content['categories'] = [{k: v for k, v in c.items() if k not in without} for c in content['categories']]
    path = folder / 'annotations.json'
    path.write_text(json.dumps(content))
    return str(path)


def build(**options):
    return METRICS.build(dict(type='StreamingLVISMetric', **options))


@pytest.mark.parametrize('options, message', [
    (dict(metric='proposal'), "metric='proposal' of StreamingLVISMetric must be 'bbox', 'segm' or"),
    (dict(metric=['bbox', 'mask']), r"metric=\['bbox', 'mask'\]"),
    (dict(metric=['bbox', 'bbox']), r"metric=\['bbox', 'bbox'\]"),
    (dict(metric=[]), r'metric=\[\]'),
    (dict(frequency='counts'), "frequency='counts' of StreamingLVISMetric must be 'annotations', 'class_counts'"),
    (dict(frequency=dict(rare=1, medium=5)), "'medium': 5"),
    (dict(frequency=dict(source='file')), "'file'"),
    (dict(frequency=5), 'frequency=5'),
    (dict(frequency=dict(rare=100)), 'rare=100 and common=100 must be'),
    (dict(per_class_csv='a.txt'), r"per_class_csv='a\.txt' of StreamingLVISMetric must end in \.csv"),
    (dict(format_only=True), 'needs outfile_prefix'),
    (dict(format_only=True, outfile_prefix='a', per_class_csv='a.csv'), 'evaluates nothing'),
    (dict(outfile_prefix='work_dirs/'), "outfile_prefix='work_dirs/' of StreamingLVISMetric is a folder"),
])
def test_options_refused(ann_file, options, message):
    with pytest.raises(ValueError, match=message):
        build(ann_file=ann_file, **options)


@pytest.mark.parametrize('format_only', [False, True])
def test_annotation_file_missing(tmp_path, format_only):
    with pytest.raises(FileNotFoundError, match=r"gone\.json'"):
        build(ann_file=str(tmp_path / 'gone.json'), format_only=format_only, outfile_prefix=str(tmp_path / 'r'))


@pytest.mark.parametrize('without, options, message', [
    (['frequency'], {}, r"have no `frequency`.*Set frequency=dict\(rare=10, common=100\).*or frequency='class_counts'"),
    (['frequency', 'image_count'], {}, r"have no `frequency`.*Set frequency='class_counts'"),
    (['image_count'], dict(frequency=dict(rare=3, common=5)), r"have no `image_count`.*Set frequency='class_counts'"),
])
def test_file_without_frequency_names_the_ways_out(tmp_path, without, options, message):
    path = write(tmp_path, without)
    with pytest.raises(ValueError, match=message):
        build(ann_file=path, **options)
    build(ann_file=path, frequency='class_counts')


def test_file_without_categories(tmp_path):
    with pytest.raises(ValueError, match='has no categories'):
        build(ann_file=write(tmp_path, categories=[], annotations=[]))


@pytest.mark.parametrize('annotations', [[], [dict(ANNOTATIONS['annotations'][0], area=0)]])
def test_empty_ground_truth(tmp_path, annotations):
    with pytest.raises(ValueError, match='holds no annotation that counts.*nothing to evaluate.*format_only=True'):
        build(ann_file=write(tmp_path, annotations=annotations))


def test_unknown_category_in_the_file(tmp_path):
    with pytest.raises(ValueError, match='category id 999'):
        build(ann_file=write(tmp_path, annotations=[dict(ANNOTATIONS['annotations'][0], category_id=999)]))


@pytest.mark.parametrize('classes, message', [
    (NAMES[:5], 'annotation file has 6 categories, but the test set has 5 classes.*metainfo.classes'),
    (NAMES[::-1], f'stand in another order.*label 0 is {NAMES[-1]!r} there and {NAMES[0]!r} in the file'),
    ([*NAMES[:5], 'zebra'], f"are others.*label 5 is 'zebra' there and {NAMES[5]!r} in the file"),
])
def test_class_names_of_the_test_set(ann_file, classes, message):
    metric = build(ann_file=ann_file)
    metric.dataset_meta = dict(classes=NAMES)
    with pytest.raises(ValueError, match=message):
        metric.dataset_meta = dict(classes=classes)


def test_another_spelling_of_few_names_is_a_warning(monkeypatch):
    """mmdet's own names of LVIS v1 differ from the file's in one letter of one name."""
    lines = []
    monkeypatch.setattr(lvis_checks, 'print_log', lambda text, logger, level: lines.append(text))
    names = [f'class {i}' for i in range(200)]
    lvis_checks.check_classes(names, names, 'the test set', 'x')
    assert not lines
    lvis_checks.check_classes(['clas 0', *names[1:]], names, 'the test set', 'x')
    assert "1 of 200 category names otherwise: 'class 0' as 'clas 0'" in lines[0]
    with pytest.raises(ValueError, match='are others'):
        lvis_checks.check_classes(['a', 'b', 'c', *names[3:]], names, 'the test set', 'x')


@pytest.mark.parametrize('counts, message', [
    (ClassCounts(NAMES[:5], [1] * 5), '6 categories, but the training set with its class counts has 5'),
    (ClassCounts(NAMES[::-1], [1] * 6), 'another order'),
])
@pytest.mark.parametrize('frequency', ['annotations', 'class_counts'])
def test_class_counts_of_other_classes(ann_file, frequency, counts, message):
    with pytest.raises(ValueError, match=message):
        build(ann_file=ann_file, frequency=frequency).set_class_counts(counts)


def test_class_counts_without_names(ann_file):
    record = ClassCounts([str(label) for label in range(6)], [1] * 6)
    build(ann_file=ann_file, frequency='class_counts').set_class_counts(record)


def test_no_class_counts(ann_file):
    metric = build(ann_file=ann_file, frequency='class_counts')
    with pytest.raises(RuntimeError, match=r"class_counts=dict\(type='ClassCountsHook'\)"):
        metric.process(None, data_samples(ANNOTATIONS, DETECTIONS)[:1])


def sample(**changes):
    result = data_samples(ANNOTATIONS, DETECTIONS)[0]
    for key in [key for key, value in changes.items() if value is None]:
        del result['pred_instances'][key]
        del changes[key]
    result['pred_instances'].update(changes)
    return result


def shape(*size):
    return torch.zeros(40, *size, dtype=torch.bool)


@pytest.mark.parametrize('changes, error, message', [
    (dict(labels=torch.full((40, ), 6)), ValueError, r'label 6, outside of the 6 categories.*0 … 5.*num_classes'),
    (dict(labels=torch.full((40, ), -1)), ValueError, 'label -1, outside'),
    (dict(labels=torch.zeros(39, dtype=torch.int64)), ValueError, '40 boxes, 39 labels and 40 scores'),
    (dict(scores=torch.full((40, ), float('nan'))), ValueError,
     'predicted score that is not finite, nan of detection 0; 40 of 40 are.*FiniteLossHook'),
    (dict(scores=torch.tensor([0.5] * 7 + [float('nan')] + [0.4] * 32)), ValueError, 'nan of detection 7; 1 of 40'),
    (dict(scores=torch.tensor([float('inf')] + [0.4] * 39)), ValueError, 'inf of detection 0'),
    (dict(mask_scores=torch.tensor([0.4] * 39 + [float('nan')])), ValueError, 'predicted mask score .* detection 39'),
    (dict(mask_scores=torch.rand(39)), ValueError, r'mask_scores of shape \(39,\) for 40 scores'),
    (dict(bboxes=torch.full((40, 4), float('inf'))), ValueError, r'predicted box that is not finite, \[inf, inf'),
    (dict(masks=[np.zeros((160, 192))] * 40), ValueError, r'a list of ndarray; it must be one of RLE, dict\(size='),
    (dict(masks=[dict(size=[160, 192])] * 40), ValueError, 'a list of dict; it must be one of RLE'),
    (dict(scores=None), KeyError, "needs 'scores' in pred_instances"),
    (dict(masks=None), ValueError, r"metric='segm' of Stream.* needs masks, .*\['bboxes', 'labels', 'scores'\]"),
    (dict(masks=shape(9, 9)), ValueError, r'height and width \(9, 9\), but the annotation file says \(160, 192\)'),
    (dict(masks=shape(160, 192)[:3]), ValueError, '3 masks for 40 labels'),
    (dict(masks=torch.full((40, 160, 192), 0.5)), ValueError, 'not binary.*mask_thr_binary'),
    (dict(masks=[dict(size=[9, 9], counts=b'')] * 40), ValueError, r'height and width \(9, 9\)'),
])
def test_predictions_refused(ann_file, changes, error, message):
    with pytest.raises(error, match=message):
        build(ann_file=ann_file).process(None, [sample(**changes)])


@pytest.mark.parametrize('key', ['scores', 'mask_scores'])
def test_scores_that_are_not_finite_get_into_no_result_file(ann_file, tmp_path, key):
    metric = build(ann_file=ann_file, format_only=True, outfile_prefix=str(tmp_path / 'r'))
    with pytest.raises(ValueError, match='not finite'):
        metric.process(None, [sample(**{key: torch.full((40, ), float('nan'))})])


def test_boxes_only_need_no_masks(ann_file):
    build(ann_file=ann_file, metric='bbox').process(None, [sample(masks=None)])


def test_masks_of_zeros_and_ones_are_masks(ann_file):
    numbers, booleans = build(ann_file=ann_file, metric='segm'), build(ann_file=ann_file, metric='segm')
    numbers.process(None, [sample(masks=sample()['pred_instances']['masks'].to(torch.uint8))])
    booleans.process(None, [sample()])
    (one, ), (other, ) = numbers.results[0], booleans.results[0]
    assert one.true.tolist() == other.true.tolist() and other.true.any()


@pytest.mark.parametrize('options', [{}, dict(format_only=True)])
def test_image_unknown_to_the_file(ann_file, tmp_path, options):
    metric = build(ann_file=ann_file, outfile_prefix=str(tmp_path / 'r'), **options)
    with pytest.raises(ValueError, match='image id 4711'):
        metric.process(None, [dict(sample(), img_id=4711)])
    with pytest.raises(KeyError, match="needs 'img_id' in each data sample.*meta_keys of PackDetInputs"):
        metric.process(None, [dict(pred_instances={})])


def test_parts_in_a_folder_that_ranks_do_not_share(ann_file, tmp_path, monkeypatch):
    metric = build(ann_file=ann_file, metric='bbox', outfile_prefix=str(tmp_path / 'r'))
    monkeypatch.setattr('nbn_mm.evaluation.metrics.streaming_lvis_metric.get_world_size', lambda: 2)
    with pytest.raises(FileNotFoundError, match=r'r\.bbox\.part1.*folder that all ranks share'):
        metric.evaluate(6)


class Replay(BaseModel):
    """Gives the stored detections back."""

    def forward(self, index, mode='predict'):
        samples = data_samples(ANNOTATIONS, DETECTIONS)
        return [BaseDataElement(metainfo=dict(img_id=samples[i]['img_id']), pred_instances=samples[i]['pred_instances'])
                for i in index]


class Images(BaseDataset):
    """Positions of the images."""

    def load_data_list(self):
        return [dict(index=i) for i in range(len(ANNOTATIONS['images']))]


def run_test(tmp_path, evaluator, classes, hooks):
    loader = dict(batch_size=2, dataset=Images(metainfo=dict(classes=classes)), num_workers=0,
                  sampler=dict(type='DefaultSampler', shuffle=False),
                  collate_fn=lambda batch: dict(index=pseudo_collate(batch)['index']))
    runner = Runner(model=Replay(), work_dir=str(tmp_path / 'run'), test_dataloader=loader, test_evaluator=evaluator,
                    test_cfg=dict(), default_hooks=hooks, experiment_name=f'lvis_{tmp_path.name}',
                    default_scope='mmengine')
    return runner, runner.test


def test_runner_with_the_hook_and_its_log(tmp_path, ann_file):
    evaluator = dict(type='StreamingLVISMetric', ann_file=ann_file, frequency='class_counts')
    counts = dict(zip(NAMES, (5, 50, 500, 6, 60, 600), strict=True))
    hooks = dict(class_counts=dict(type='ClassCountsHook', class_counts=counts))
    runner, test = run_test(tmp_path, evaluator, NAMES, hooks)
    metrics = test()
    log = (tmp_path / 'run' / runner.timestamp / f'{runner.timestamp}.log').read_text()
    assert 'groups by counted training images, r <= 10 < c <= 100 < f\n' in log
    assert f"lvis/segm_APf: {metrics['lvis/segm_APf']:.4f}" in log
    logged = json.loads((tmp_path / 'run' / runner.timestamp / f'{runner.timestamp}.json').read_text())
    assert logged['lvis/segm_AP'] == metrics['lvis/segm_AP'] > 0


def test_runner_refuses_other_classes_before_the_first_batch(tmp_path, ann_file):
    metric = StreamingLVISMetric(ann_file)
    _, test = run_test(tmp_path, metric, NAMES[:5], {})
    with pytest.raises(ValueError, match='6 categories, but the test set has 5 classes'):
        test()
    assert not metric.results
