import json
import logging
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from process_server import run_ranks
from pycocotools import mask as mask_utils
from references.lvis_cases import random_annotations, random_detections
from references.lvis_official import official_evaluation
from references.lvis_samples import data_samples, official_entries

from nbn_mm.datasets.class_counts import ClassCounts
from nbn_mm.datasets.frequency_groups import frequency_of
from nbn_mm.evaluation import StreamingLVISMetric
from nbn_mm.evaluation.functional.lvis_table import read_lvis_class_csv
from nbn_mm.evaluation.metrics import lvis_checks, streaming_lvis_metric

IOU_TYPES = ('bbox', 'segm')


@pytest.fixture(scope='module')
def case():
    """Annotations, detections (one image in four has 320), and the official evaluations of both kinds."""
    rng = np.random.default_rng(3)
    annotations = random_annotations(rng)
    detections = random_detections(rng, annotations, crowded=320)
    official = {iou_type: run_official(annotations, detections, iou_type) for iou_type in IOU_TYPES}
    return annotations, detections, official


def run_official(annotations, detections, iou_type, mask_scores=None):
    entries = official_entries(annotations, detections, iou_type, mask_scores)
    return official_evaluation(annotations, entries, iou_type)


@pytest.fixture
def ann_file(case, tmp_path):
    return write(case[0], tmp_path / 'annotations.json')


@pytest.fixture
def log(monkeypatch):
    """Messages that are logged, with their level."""
    lines = []
    for module in (streaming_lvis_metric, lvis_checks):
        monkeypatch.setattr(module, 'print_log', lambda text, logger, level=20: lines.append((level, text)))
    return lines


def write(annotations, path):
    path.write_text(json.dumps(annotations))
    return str(path)


def evaluate(metric, samples, batch=5):
    evaluator = Evaluator(metric)
    for start in range(0, len(samples), batch):
        evaluator.process(samples[start:start + batch])
    return evaluator.evaluate(len(samples))


def expected(official, iou_types=IOU_TYPES):
    return {f'lvis/{iou_type}_{name}': value for iou_type in iou_types
            for name, value in official[iou_type].results.items() if value > -1}


def without(annotations, *keys):
    """A copy whose categories lack the keys."""
    kept = [{key: value for key, value in c.items() if key not in keys} for c in annotations['categories']]
    return dict(annotations, categories=kept)


def sorted_categories(annotations):
    return sorted(annotations['categories'], key=lambda c: c['id'])


@pytest.mark.parametrize('dense', [True, False])
def test_values_equal_the_official(case, ann_file, dense):
    annotations, detections, official = case
    result = evaluate(dict(type='StreamingLVISMetric', ann_file=ann_file), data_samples(annotations, detections, dense))
    assert result == expected(official) and len(result) == 26
    assert min(result.values()) >= 0 and 0.1 < result['lvis/segm_AP'] < 0.9


def test_only_masks_that_count_are_encoded_and_none_is_kept(case, ann_file, monkeypatch):
    annotations, detections, _ = case
    encoded = []
    encode = mask_utils.encode
    monkeypatch.setattr(mask_utils, 'encode', lambda masks: encoded.append(masks.shape[2]) or encode(masks))
    metric = StreamingLVISMetric(ann_file)
    metric.process(None, data_samples(annotations, detections))
    total = sum(len(columns[0]) for columns in detections.values())
    records = sum(len(records[1]) for records in metric.results)
    assert records <= sum(encoded) < 0.6 * total
    assert len(pickle.dumps(metric.results)) < 2 * 40 * total


def test_mask_scores(case, ann_file):
    annotations, detections, official = case
    samples = data_samples(annotations, detections)
    scores = {}
    for sample in samples:
        values = sample['pred_instances']['scores']
        sample['pred_instances']['mask_scores'] = values.flip(0) * 0.5
        scores[sample['img_id']] = (values.flip(0) * 0.5).tolist()
    segm = run_official(annotations, detections, 'segm', scores)
    assert segm.results != official['segm'].results
    assert evaluate(StreamingLVISMetric(ann_file), samples) == expected(dict(official, segm=segm))


def test_the_samples_of_mmdet(case, ann_file):
    structures = pytest.importorskip('mmdet.structures', reason='takes data samples of mmdet')
    from mmengine.structures import InstanceData
    annotations, detections, official = case
    samples = []
    for sample in data_samples(annotations, detections):
        samples.append(structures.DetDataSample(metainfo=dict(img_id=sample['img_id'])))
        samples[-1].pred_instances = InstanceData(**sample['pred_instances'])
    assert evaluate(StreamingLVISMetric(ann_file), samples) == expected(official)


def test_the_hosts_metric_differs_as_documented(case, ann_file, tmp_path, monkeypatch):
    """It rounds, and takes boxes for the areas of masks; the same detections otherwise."""
    metrics = pytest.importorskip('mmdet.evaluation.metrics', reason='compares with the metric of mmdet')
    annotations, detections, official = case
    monkeypatch.setattr(np, 'float', float, raising=False)
    samples = data_samples(annotations, detections)
    path = write(dict(annotations, categories=sorted_categories(annotations)), tmp_path / 'sorted.json')
    host = evaluate(metrics.LVISMetric(path, metric=['bbox', 'segm']), samples)
    ours = evaluate(StreamingLVISMetric(ann_file), samples)
    sizes = {f'lvis/segm_AP{size}' for size in 'sml'}
    boxes = official_evaluation(annotations, [
        dict(mask, bbox=box['bbox']) for mask, box in zip(
            official_entries(annotations, detections, 'segm'), official_entries(annotations, detections, 'bbox'),
            strict=True)], 'segm').results
    different = {key for key, value in host.items() if value != round(ours[key], 3)}
    assert different and different <= sizes
    assert {key: host[key] for key in sizes} == {key: round(boxes[key[-3:]], 3) for key in sizes}


def test_half_precision_scores(case, ann_file):
    annotations, detections, _ = case
    rounded = {img_id: (torch.tensor(scores).bfloat16().tolist(), *rest)
               for img_id, (scores, *rest) in detections.items()}
    samples = data_samples(annotations, rounded)
    for sample in samples:
        sample['pred_instances']['scores'] = sample['pred_instances']['scores'].bfloat16()
    official = run_official(annotations, rounded, 'bbox')
    assert evaluate(StreamingLVISMetric(ann_file, 'bbox'), samples) == expected(dict(bbox=official), ['bbox'])


def official_ap(evaluation, classes, area):
    values = evaluation.eval['precision'][:, :, classes, area]
    values = values[values > -1]
    return values.mean() if values.size else None


def test_frequency_by_size_and_the_log(case, ann_file, log):
    annotations, detections, official = case
    groups = [c['frequency'] for c in sorted_categories(annotations)]
    metric = StreamingLVISMetric(ann_file, frequency_by_size=True)
    result = evaluate(metric, data_samples(annotations, detections))
    slow = {f'lvis/{iou_type}_AP{group}_{"sml"[area - 1]}':
            official_ap(official[iou_type], [i for i, g in enumerate(groups) if g == group], area)
            for iou_type in IOU_TYPES for group in 'rcf' for area in (1, 2, 3)}
    slow = {key: value for key, value in slow.items() if value is not None}
    assert {key: value for key, value in result.items() if key[-2] == '_'} == pytest.approx(slow)
    (level, text), = log
    table = text.splitlines()
    assert table[0] == 'LVIS evaluation of 12 images, in percent'
    assert table[1] == ('categories with ground truth: r 3 of 3, c 2 of 3, f 2 of 3; groups by `frequency` of the '
                        'annotation file')
    names = ['AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf']
    assert table[2].split() == names
    for line, label, iou_type in zip(table[3:5], ('box', 'mask'), IOU_TYPES, strict=True):
        assert line.split() == [label, *(f"{100 * result[f'lvis/{iou_type}_{name}']:.1f}" for name in names)]
    assert table[5].split() == ['r/s', 'r/m', 'r/l', 'c/s', 'c/m', 'c/l', 'f/s', 'f/m', 'f/l']
    assert len(table) == 8 and level == logging.INFO
    assert len({len(line) for line in table[2:]}) == 1


def test_per_class_csv(case, ann_file, tmp_path):
    annotations, detections, official = case
    path = tmp_path / 'deep' / 'classes.csv'
    result = evaluate(StreamingLVISMetric(ann_file, per_class_csv=path), data_samples(annotations, detections))
    rows = read_lvis_class_csv(path)
    counted = [a for a in annotations['annotations'] if a['area'] > 0]
    for index, (row, category) in enumerate(zip(rows, sorted_categories(annotations), strict=True)):
        own = [a['image_id'] for a in counted if a['category_id'] == category['id']]
        assert [row[key] for key in list(row)[:6]] == [category['name'], category['frequency'], category['image_count'],
                                                       category['instance_count'], len(set(own)), len(own)]
        for iou_type in IOU_TYPES:
            slow = official_ap(official[iou_type], [index], 0)
            assert row[f'{iou_type}_AP'] == (None if slow is None else pytest.approx(slow, abs=1e-15))
    known = [row['segm_AP'] for row in rows if row['segm_AP'] is not None]
    assert 0 < len(known) < len(rows) and np.mean(known) == pytest.approx(result['lvis/segm_AP'])


def _rank(rank, folder, shards):
    os.chdir(folder)
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    with open(f'{folder}/case.pkl', 'rb') as file:
        annotations, detections = pickle.load(file)
    samples = data_samples(annotations, detections)
    metric = StreamingLVISMetric(f'{folder}/annotations.json', outfile_prefix=f'{folder}/both',
                                 per_class_csv=f'{folder}/both.csv')
    result = evaluate(metric, [samples[index] for index in shards[rank]])
    with open(f'{folder}/rank{rank}.json', 'w') as file:
        json.dump(result, file)
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('shards', [
    [[0, 2, 4, 6, 8, 10, 11, 0], [1, 3, 5, 7, 9, 0]],  # uneven, the first image thrice
    [list(range(12)), []],
])
def test_two_processes_equal_one(case, ann_file, tmp_path, shards):
    """Values on both ranks, result files and per-class table."""
    annotations, detections, official = case
    (tmp_path / 'case.pkl').write_bytes(pickle.dumps(case[:2]))
    run_ranks(_rank, str(tmp_path), shards)
    for rank in range(2):
        assert json.loads((tmp_path / f'rank{rank}.json').read_text()) == expected(official)
    one = StreamingLVISMetric(ann_file, outfile_prefix=str(tmp_path / 'one'), per_class_csv=tmp_path / 'one.csv')
    evaluate(one, data_samples(annotations, detections))
    for suffix in ('.bbox.json', '.segm.json', '.csv'):
        assert (tmp_path / f'both{suffix}').read_bytes() == (tmp_path / f'one{suffix}').read_bytes()
    assert not list(tmp_path.glob('*.part*'))


def test_repeated_images_count_once(case, ann_file):
    annotations, detections, official = case
    samples = data_samples(annotations, detections)
    assert evaluate(StreamingLVISMetric(ann_file), samples + samples[:3]) == expected(official)


def test_a_second_evaluation_starts_anew(case, ann_file, tmp_path):
    annotations, detections, official = case
    evaluator = Evaluator(StreamingLVISMetric(ann_file, outfile_prefix=str(tmp_path / 'r')))
    samples = data_samples(annotations, detections)
    sizes = []
    for part in (samples, samples[:2], samples):
        evaluator.process(part)
        result = evaluator.evaluate(len(part))
        sizes.append((tmp_path / 'r.segm.json').stat().st_size)
    assert result == expected(official) and sizes[1] < sizes[0] == sizes[2]


def test_an_interrupted_evaluation_leaves_nothing(case, ann_file, tmp_path):
    """Its predictions of the first images, with other scores, give way to those of the evaluation that follows."""
    annotations, detections, official = case
    samples = data_samples(annotations, detections)
    other = data_samples(annotations, {i: (c[0][::-1], *c[1:]) for i, c in detections.items()})
    files = []
    for start in ([], other[:4]):
        evaluator = Evaluator(StreamingLVISMetric(ann_file, outfile_prefix=str(tmp_path / 'r')))
        evaluator.process(start)
        assert evaluate(evaluator.metrics[0], samples) == expected(official)
        files.append((tmp_path / 'r.segm.json').read_bytes())
    assert files[0] == files[1]


def test_numpy_image_ids(case, ann_file, tmp_path):
    annotations, detections, official = case
    samples = [dict(sample, img_id=np.int64(sample['img_id'])) for sample in data_samples(annotations, detections)]
    assert evaluate(StreamingLVISMetric(ann_file, outfile_prefix=str(tmp_path / 'r')), samples) == expected(official)


@pytest.mark.parametrize('iou_type', IOU_TYPES)
def test_result_files_for_the_server(case, ann_file, tmp_path, iou_type):
    """The official package reads the file, and finds the same values in it."""
    annotations, detections, official = case
    (tmp_path / f'r.{iou_type}.part0').write_text('left by a run that was killed\n')
    result = evaluate(StreamingLVISMetric(ann_file, iou_type, outfile_prefix=str(tmp_path / 'r')),
                      data_samples(annotations, detections)[::-1])
    assert result == expected(official, [iou_type])
    entries = json.loads((tmp_path / f'r.{iou_type}.json').read_text())
    key = 'bbox' if iou_type == 'bbox' else 'segmentation'
    assert all(set(entry) == {'image_id', 'category_id', key, 'score'} for entry in entries)
    image_ids = [entry['image_id'] for entry in entries]
    assert image_ids == sorted(image_ids)
    assert {i: image_ids.count(i) for i in set(image_ids)} == {i: min(300, len(c[0])) for i, c in detections.items()}
    from lvis import LVIS, LVISResults
    LVISResults(LVIS(ann_file), str(tmp_path / f'r.{iou_type}.json'))
    assert official_evaluation(annotations, entries, iou_type).results == official[iou_type].results


def test_format_only_for_images_without_ground_truth(case, tmp_path):
    annotations, detections, _ = case
    images = [{k: image[k] for k in ('id', 'height', 'width')} for image in annotations['images']]
    path = write(dict(images=images, categories=without(annotations, 'frequency', 'image_count')['categories']),
                 tmp_path / 'test_dev.json')
    metric = StreamingLVISMetric(path, outfile_prefix=str(tmp_path / 'sub' / 'r'), format_only=True)
    assert not metric.class_counts_at_test
    assert evaluate(metric, data_samples(annotations, detections)) == {}
    for iou_type in IOU_TYPES:
        assert len(json.loads((tmp_path / 'sub' / f'r.{iou_type}.json').read_text())) == sum(
            min(300, len(columns[0])) for columns in detections.values())


def test_no_predictions_at_all(case, ann_file, tmp_path, log):
    annotations, detections, official = case
    nothing = {img_id: ([], [], [], []) for img_id in detections}
    zeros = dict.fromkeys(expected(official), 0.0)
    metric = dict(type='StreamingLVISMetric', ann_file=ann_file, outfile_prefix=str(tmp_path / 'r'))
    assert evaluate(metric, data_samples(annotations, nothing)) == zeros
    assert json.loads((tmp_path / 'r.bbox.json').read_text()) == []
    assert not [text for level, text in log if level == logging.WARNING]
    assert evaluate(metric, []) == zeros
    (text, ) = [text for level, text in log if level == logging.WARNING]
    assert 'predictions of 0 of 12 images came' in text


def test_frequency_by_thresholds_on_the_file(case, tmp_path):
    annotations, detections, official = case
    path = write(without(annotations, 'frequency'), tmp_path / 'a.json')
    metric = StreamingLVISMetric(path, 'bbox', frequency=dict(rare=3, common=6))
    groups = frequency_of([c['image_count'] for c in sorted_categories(annotations)], 3, 6)
    assert groups != [c['frequency'] for c in sorted_categories(annotations)]
    check_groups(evaluate(metric, data_samples(annotations, detections)), official['bbox'], groups)


def check_groups(result, evaluation, groups):
    for group in 'rcf':
        slow = official_ap(evaluation, [i for i, g in enumerate(groups) if g == group], 0)
        assert result.get(f'lvis/bbox_AP{group}') == (None if slow is None else pytest.approx(slow))


@pytest.mark.parametrize('frequency, thresholds', [
    ('class_counts', (10, 100)), (dict(source='class_counts', rare=40, common=60), (40, 60))])
def test_frequency_by_the_counts_of_the_training_set(case, tmp_path, frequency, thresholds, log):
    """Here no category is common under the first thresholds: the group is absent."""
    annotations, detections, official = case
    path = write(without(annotations, 'frequency', 'image_count', 'instance_count'), tmp_path / 'a.json')
    csv = tmp_path / 'classes.csv'
    metric = StreamingLVISMetric(path, 'bbox', frequency=frequency, per_class_csv=csv)
    assert metric.class_counts_at_test and not StreamingLVISMetric.class_counts_at_test.fget(
        StreamingLVISMetric(write(annotations, tmp_path / 'b.json'), 'bbox'))
    images = [2, 200, 7, 300, 10, 101, 400, 5, 500] if thresholds == (10, 100) else [39, 40, 41, 55, 60, 61, 62, 70, 80]
    names = [c['name'] for c in sorted_categories(annotations)]
    metric.set_class_counts(ClassCounts(names, images, [2 * n for n in images]))
    result = evaluate(metric, data_samples(annotations, detections))
    groups = frequency_of(images, *thresholds)
    check_groups(result, official['bbox'], groups)
    assert ('lvis/bbox_APc' in result) == ('c' in groups)
    assert f'counted training images, r <= {thresholds[0]} < c <= {thresholds[1]} < f' in log[-1][1]
    rows = read_lvis_class_csv(csv)
    assert [(row['train_images'], row['train_instances']) for row in rows] == [(n, 2 * n) for n in images]
    if 'c' not in groups:
        assert log[-1][1].splitlines()[-1].split()[8] == '–'
