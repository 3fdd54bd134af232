import pickle

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from references.lvis_cases import random_annotations, random_detections, rle_of
from references.lvis_curves import greedy_matches

from nbn_mm.evaluation.functional import LVISGroundTruth, LVISMatcher

FIELDS = ('labels', 'scores', 'true', 'false')
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RANGES = [(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)]


def random_case(seed=0, **keys):
    """Ground truth and ``{img_id: (scores, labels, boxes, rles)}`` with arrays."""
    rng = np.random.default_rng(seed)
    annotations = random_annotations(rng)
    ground_truth = LVISGroundTruth(annotations)
    label_of = {cat_id: label for label, cat_id in enumerate(ground_truth.cat_ids.tolist())}
    detections = {img_id: (np.array(scores), np.array([label_of[c] for c in cat_ids]), np.array(boxes), rles)
                  for img_id, (scores, cat_ids, boxes, rles) in random_detections(rng, annotations, **keys).items()}
    return annotations, ground_truth, detections


def has(sets, area, threshold):
    return (sets >> np.uint64(10 * area + threshold) & np.uint64(1)).astype(bool).tolist()


def test_records_equal_the_slow_matching():
    """Category by category, with the annotations and IoUs taken from the file anew."""
    annotations, ground_truth, detections = random_case()
    met = set()
    for img_id, (scores, labels, boxes, _) in detections.items():
        image = next(image for image in annotations['images'] if image['id'] == img_id)
        records = LVISMatcher(ground_truth).match(img_id, scores, labels, boxes)
        for label in set(records.labels.tolist()):
            own = np.flatnonzero((labels == label) & (boxes[:, 2] * boxes[:, 3] > 0))
            own = own[np.argsort(-scores[own], kind='stable')]
            cat_id = int(ground_truth.cat_ids[label])
            gts = [a for a in annotations['annotations']
                   if (a['image_id'], a['category_id']) == (img_id, cat_id) and a['area'] > 0]
            ious = mask_utils.iou(boxes[own], np.array([a['bbox'] for a in gts]).reshape(-1, 4), [0] * len(gts))
            ious = np.asarray(ious).reshape(len(own), len(gts)).tolist()
            rows = records.labels == label
            assert records.scores[rows].tolist() == scores[own].tolist()
            for area, (low, high) in enumerate(RANGES):
                counts = [not a.get('ignore') and low <= a['area'] <= high for a in gts]
                areas = boxes[own, 2] * boxes[own, 3]
                excused = (areas < low) | (areas > high) | (cat_id in image['not_exhaustive_category_ids'])
                for index, threshold in enumerate(THRESHOLDS):
                    outcome = greedy_matches(ious, counts, threshold)
                    met.update(outcome)
                    assert has(records.true[rows], area, index) == [o == 'true' for o in outcome]
                    assert has(records.false[rows], area, index) == [
                        o == 'none' and not e for o, e in zip(outcome, excused, strict=True)]
    assert met == {'true', 'hidden', 'none'}


@pytest.mark.parametrize('crowded', [None, 320])
def test_kept_equals_sorting_by_hand(crowded):
    annotations, ground_truth, detections = random_case(1, crowded=crowded)
    cut = 0
    for image in annotations['images']:
        if image['id'] not in detections:
            continue
        scores, labels, _, _ = detections[image['id']]
        best = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:300]
        judged = set(image['neg_category_ids']) | {
            a['category_id'] for a in annotations['annotations'] if a['image_id'] == image['id'] and a['area'] > 0}
        expected = [index for index in best if int(ground_truth.cat_ids[labels[index]]) in judged]
        assert LVISMatcher(ground_truth).kept(image['id'], scores, labels).tolist() == expected
        cut += len(expected) < len(scores)
    assert cut


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_all_detections_or_the_kept_ones_give_the_same_records(iou_type):
    _, ground_truth, detections = random_case(2, crowded=310)
    matcher = LVISMatcher(ground_truth, iou_type)
    for img_id, (scores, labels, boxes, rles) in detections.items():
        kept = matcher.kept(img_id, scores, labels)
        records = matcher.match(img_id, scores, labels, boxes, rles)
        again = matcher.match(img_id, scores[kept], labels[kept], boxes[kept], [rles[index] for index in kept])
        assert all(np.array_equal(getattr(records, name), getattr(again, name)) for name in FIELDS)


def test_records_are_small_and_can_be_sent():
    _, ground_truth, detections = random_case(3)
    img_id, (scores, labels, boxes, _) = next(iter(detections.items()))
    records = LVISMatcher(ground_truth).match(img_id, scores.astype(np.float32), labels, boxes)
    assert len(records) and records.nbytes == 24 * len(records)
    copy = pickle.loads(pickle.dumps(records))
    assert copy.img_id == img_id and all(np.array_equal(getattr(copy, n), getattr(records, n)) for n in FIELDS)


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.int64])
def test_scores_of_other_types(dtype):
    _, ground_truth, detections = random_case(4)
    matcher = LVISMatcher(ground_truth)
    img_id, (scores, labels, boxes, _) = next(iter(detections.items()))
    scores = (12 * scores).astype(dtype)  # integers, exact in each type
    records = matcher.match(img_id, scores, labels, boxes)
    expected = matcher.match(img_id, scores.astype(np.float64), labels, boxes)
    assert all(np.array_equal(getattr(records, name), getattr(expected, name)) for name in FIELDS)


def test_more_masks_than_pycocotools_takes_at_once():
    annotations, ground_truth, _ = random_case(5)
    first = next(entry for entry in annotations['annotations'] if entry['area'] > 0)
    img_id, label = first['image_id'], ground_truth.cat_ids.tolist().index(first['category_id'])
    records = LVISMatcher(ground_truth, 'segm').match(img_id, np.ones(300), np.full(300, label),
                                                      masks=[rle_of([5.0, 5.0, 9.0, 9.0])] * 300)
    assert len(records) == 300


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_no_detections(iou_type):
    _, ground_truth, _ = random_case(6)
    records = LVISMatcher(ground_truth, iou_type).match(ground_truth.img_ids[0], [], [], np.empty((0, 4)), [])
    assert len(records) == 0 and records.true.dtype == np.uint64


def call(change, iou_type='bbox', max_dets=300):
    _, ground_truth, _ = random_case(7)
    keys = dict(img_id=ground_truth.img_ids[0], scores=np.array([0.5, 0.4]), labels=np.array([0, 1]),
                boxes=np.ones((2, 4)))
    return LVISMatcher(ground_truth, iou_type, max_dets).match(**{**keys, **change})


@pytest.mark.parametrize('change, message', [
    (dict(img_id=-3), r'image id -3 is not among the images.*ann_file'),
    (dict(scores=np.array([0.5, np.nan])), r'score of detection 1 is NaN'),
    (dict(labels=np.array([0, 9])), r'label 9 is no index of the 9 categories.*num_classes'),
    (dict(labels=np.array([-1, 0])), r'label -1 is no index'),
    (dict(labels=np.array([0])), r'one shape \(N,\), got \(2,\) and \(1,\)'),
    (dict(boxes=None), r'2 scores and no boxes'),
    (dict(boxes=np.ones((3, 4))), r'2 scores and 3 boxes'),
])
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        call(change)


def test_errors_of_the_settings():
    with pytest.raises(ValueError, match='2 scores and no masks'):
        call({}, 'segm')
    with pytest.raises(ValueError, match="iou_type='keypoints' must be"):
        call({}, 'keypoints')
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match=f'max_dets={wrong!r} must be'):
            call({}, max_dets=wrong)


def test_an_annotation_without_a_box():
    annotations, _, _ = random_case(8)
    del annotations['annotations'][0]['bbox']
    annotations['annotations'][0]['area'] = 5.0
    ground_truth = LVISGroundTruth(annotations)
    assert LVISMatcher(ground_truth, 'segm')
    with pytest.raises(ValueError, match="an annotation has no 'bbox'"):
        LVISMatcher(ground_truth, 'bbox')
