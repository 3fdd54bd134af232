"""What detectors hand over, and what a rank hands on."""
import json
import pickle

import mmengine.evaluator.metric
import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from process_server import run_ranks
from pycocotools import mask as mask_utils
from references.lvis_cases import random_annotations, random_detections
from references.lvis_official import official_evaluation
from references.lvis_samples import data_samples, official_entries

from nbn_mm.evaluation import StreamingLVISMetric
from nbn_mm.evaluation.functional.lvis_records import LVISRecords

IOU_TYPES = ('bbox', 'segm')
RNG = np.random.default_rng(11)
ANNOTATIONS = random_annotations(RNG, num_images=8)
DETECTIONS = random_detections(RNG, ANNOTATIONS, per_image=30)


@pytest.fixture
def ann_file(tmp_path):
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(ANNOTATIONS))
    return str(path)


def evaluate(metric, samples):
    evaluator = Evaluator(metric)
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def expected(detections):
    return {f'lvis/{iou_type}_{name}': value for iou_type in IOU_TYPES
            for name, value in official_evaluation(
                ANNOTATIONS, official_entries(ANNOTATIONS, detections, iou_type), iou_type).results.items()
            if value > -1}


OFFICIAL = expected(DETECTIONS)


def uncompressed(masks):
    """RLE with a list of counts, from the pixels."""
    result = []
    for mask in masks.numpy():
        pixels = mask.ravel(order='F').astype(int)
        borders = np.flatnonzero(np.diff(pixels, prepend=0))
        counts = np.diff(np.concatenate([[0], borders, [len(pixels)]]))
        result.append(dict(size=list(mask.shape), counts=counts.tolist()))
    return result


def rles(masks, as_text):
    found = [mask_utils.encode(np.asfortranarray(mask)) for mask in masks.numpy().astype(np.uint8)]
    return [dict(size=rle['size'], counts=rle['counts'].decode() if as_text else rle['counts']) for rle in found]


@pytest.mark.parametrize('kind', [
    lambda masks: masks, lambda masks: masks.numpy(), lambda masks: masks.numpy().astype(np.uint8),
    lambda masks: masks.float(), lambda masks: rles(masks, False), lambda masks: rles(masks, True),
    lambda masks: tuple(rles(masks, True)), uncompressed,
], ids=['bool tensor', 'bool array', 'uint8 array', 'float tensor of 0 and 1', 'RLE bytes', 'RLE text', 'tuple of RLE',
        'uncompressed RLE'])
def test_each_form_of_masks(ann_file, tmp_path, kind):
    """The same figures and the same result file; every fourth image has no detections."""
    samples = data_samples(ANNOTATIONS, DETECTIONS)
    assert [len(sample['pred_instances']['labels']) for sample in samples] == [30, 30, 30, 0] * 2
    files = []
    for form in (kind, lambda masks: masks):
        given = [dict(sample, pred_instances=dict(sample['pred_instances'], masks=form(
            sample['pred_instances']['masks']))) for sample in samples]
        assert evaluate(StreamingLVISMetric(ann_file, outfile_prefix=str(tmp_path / 'r')), given) == OFFICIAL
        files.append((tmp_path / 'r.segm.json').read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize('empty', [
    dict(bboxes=torch.zeros(0, 4), masks=torch.zeros(0, 160, 192, dtype=torch.bool)),
    dict(bboxes=torch.zeros(0), masks=[]),
    dict(bboxes=np.zeros((0, 4), np.float32), masks=np.zeros((0, 7, 7), bool)),
], ids=['tensors', 'lists', 'arrays of another size'])
def test_an_image_without_detections(ann_file, empty):
    """In each form, between images that have some; and given or not, it counts alike."""
    samples = data_samples(ANNOTATIONS, DETECTIONS)
    for sample in samples[3::4]:
        sample['pred_instances'].update(empty)
    assert evaluate(StreamingLVISMetric(ann_file), samples) == OFFICIAL
    metric = StreamingLVISMetric(ann_file)
    metric.process(None, samples[3:4])
    assert [len(records) for records in metric.results[0]] == [0, 0]
    assert evaluate(StreamingLVISMetric(ann_file), [s for i, s in enumerate(samples) if i % 4 != 3]) == OFFICIAL


@pytest.mark.parametrize('cat_id', sorted(category['id'] for category in ANNOTATIONS['categories'])[:3])
def test_all_detections_of_one_class(ann_file, cat_id):
    """The others have recall 0; one class without ground truth leaves nothing but zeros."""
    detections = {i: (scores, [cat_id] * len(cats), *shapes) for i, (scores, cats, *shapes) in DETECTIONS.items()}
    result = evaluate(StreamingLVISMetric(ann_file), data_samples(ANNOTATIONS, detections))
    assert result == expected(detections)
    present = any(a['category_id'] == cat_id and a['area'] > 0 for a in ANNOTATIONS['annotations'])
    assert (result['lvis/bbox_AR@300'] > 0) == present


def _rank(rank, folder):
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    collect = mmengine.evaluator.metric.collect_results

    def spy(results, *args, **kwargs):
        with open(f'{folder}/sent{rank}.pkl', 'wb') as file:
            pickle.dump(results, file, protocol=2)  # as mmengine does
        return collect(results, *args, **kwargs)

    mmengine.evaluator.metric.collect_results = spy
    metric = StreamingLVISMetric(f'{folder}/annotations.json', collect_dir=f'{folder}/collected')
    result = evaluate(metric, data_samples(ANNOTATIONS, DETECTIONS)[rank::2])
    assert result == OFFICIAL
    torch.distributed.destroy_process_group()


def test_only_match_records_travel(ann_file, tmp_path):
    """Between two processes over gloo: some 10 bytes a detection that counts and no mask, box or annotation."""
    run_ranks(_rank, str(tmp_path))
    images = []
    for rank in range(2):
        path = tmp_path / f'sent{rank}.pkl'
        sent = pickle.loads(path.read_bytes())
        images += [records.img_id for records, _ in sent]
        assert all(type(records) is LVISRecords for pair in sent for records in pair)
        number = sum(len(records) for pair in sent for records in pair)
        assert number > 50 and path.stat().st_size < 24 * number + 300 * 2 * len(sent)
    assert sorted(images) == sorted(image['id'] for image in ANNOTATIONS['images'])
    assert not list((tmp_path / 'collected').glob('*'))
