"""Holds the LVIS evaluation against the official package, to the last bit."""
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from references.lvis_cases import SIZE, jitter, official_results, random_annotations, random_detections, rle_of
from references.lvis_official import official_evaluation

from nbn_mm.evaluation.functional import LVISAccumulator, LVISGroundTruth, LVISMatcher, summarize

REAL = Path(__file__).resolve().parents[2] / 'data' / 'lvis_v0.5_val_100.json'


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def evaluate(annotations, detections, iou_type, img_ids=None, max_dets=300):
    """Ours, with the images in reverse order."""
    ground_truth = LVISGroundTruth(annotations, img_ids)
    matcher = LVISMatcher(ground_truth, iou_type, max_dets)
    accumulator = LVISAccumulator(ground_truth, iou_type, max_dets)
    label_of = {cat_id: label for label, cat_id in enumerate(ground_truth.cat_ids.tolist())}
    for img_id in sorted(set(detections) & set(ground_truth.img_ids), reverse=True):
        scores, cat_ids, boxes, rles = detections[img_id]
        labels = np.array([label_of[cat_id] for cat_id in cat_ids], dtype=np.int64)
        accumulator.add(matcher.match(img_id, np.array(scores), labels, np.array(boxes), rles))
    return ground_truth, accumulator.accumulate()


def assert_equal_to_official(annotations, detections, iou_type, img_ids=None, max_dets=300):
    official = official_evaluation(annotations, official_results(detections, iou_type), iou_type, img_ids, max_dets)
    ground_truth, result = evaluate(annotations, detections, iou_type, img_ids, max_dets)
    assert np.array_equal(result.precision, official.eval['precision'])
    assert np.array_equal(result.recall, official.eval['recall'])
    assert dict(summarize(result, ground_truth.frequencies)) == dict(official.results)
    return result


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('seed', range(6))
def test_random_federated_sets(seed, iou_type):
    rng = np.random.default_rng(seed)
    annotations = random_annotations(rng, first_ann_id=seed % 2)
    detections = random_detections(rng, annotations, ties=seed != 3)
    result = assert_equal_to_official(annotations, detections, iou_type)
    assert 0 < result.precision[0, 0, :, 0].max() <= 1 and (result.recall == -1).any()


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_more_detections_than_count(iou_type):
    rng = np.random.default_rng(11)
    annotations = random_annotations(rng, num_images=5)
    detections = random_detections(rng, annotations, crowded=340)
    result = assert_equal_to_official(annotations, detections, iou_type)
    fewer = assert_equal_to_official(annotations, detections, iou_type, max_dets=17)
    assert not np.array_equal(result.recall, fewer.recall)


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_a_subset_of_the_images(iou_type):
    rng = np.random.default_rng(12)
    annotations = random_annotations(rng)
    detections = random_detections(rng, annotations)
    img_ids = sorted(image['id'] for image in annotations['images'])[1::2]
    part = assert_equal_to_official(annotations, detections, iou_type, img_ids)
    assert not np.array_equal(part.recall, evaluate(annotations, detections, iou_type)[1].recall)


def annotation(number, box, cat_id=1, img_id=1, **more):
    x, y, w, h = box
    return dict(dict(id=number, image_id=img_id, category_id=cat_id, bbox=box, area=w * h,
                     segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]]), **more)


def small_set(*annotations, negative=(), not_exhaustive=()):
    """Two images, two categories; the lists are those of image 1."""
    images = [dict(id=number, height=SIZE[0], width=SIZE[1], neg_category_ids=list(negative) if number == 1 else [2],
                   not_exhaustive_category_ids=list(not_exhaustive) if number == 1 else []) for number in (1, 2)]
    return dict(images=images, annotations=list(annotations),
                categories=[dict(id=1, name='a', frequency='f'), dict(id=2, name='b', frequency='r')])


def dets(*entries, img_id=1):
    """Of ``(score, cat_id, box)``."""
    scores, cat_ids, boxes = zip(*entries, strict=True)
    return {img_id: (list(scores), list(cat_ids), [list(box) for box in boxes], [rle_of(box) for box in boxes])}


BOX, FAR, LARGE = [10.0, 10.0, 40.0, 40.0], [100.0, 100.0, 40.0, 40.0], [10.0, 10.0, 100.0, 100.0]
PART = [10.0, 10.0, 40.0, 30.0]
HIT, MISS = (0.5, 1, BOX), (0.9, 1, FAR)
# name: annotations of image 1, detections, AP of category 1 at IoU 0.5 over all areas, AP at medium size
QUIRKS = {
    'a plain hit': (small_set(annotation(1, BOX)), dets(HIT), 1, 1),
    'a false positive first': (small_set(annotation(1, BOX)), dets(HIT, MISS), 0.5, 0.5),
    'equal scores: the first detection goes first':
        (small_set(annotation(1, BOX)), dets((0.5, 1, FAR), (0.5, 1, BOX)), 0.5, 0.5),
    'equal scores: the second one is no harm':
        (small_set(annotation(1, BOX)), dets((0.5, 1, BOX), (0.5, 1, FAR)), 1, 1),
    'equal scores in two images: the lower id goes first':
        (small_set(annotation(1, BOX, img_id=2), annotation(2, FAR)),
         {**dets(HIT, img_id=2), **dets((0.5, 1, BOX))}, 0.25247524752475248, 0.25247524752475248),
    'not exhaustive: an unmatched detection is ignored':
        (small_set(annotation(1, BOX), not_exhaustive=[1]), dets(HIT, MISS), 1, 1),
    'neither negative nor present: not judged':
        (small_set(annotation(1, BOX, img_id=2)), {**dets(MISS), **dets(HIT, img_id=2)}, 1, 1),
    'negative: judged':
        (small_set(annotation(1, BOX, img_id=2), negative=[1]), {**dets(MISS), **dets(HIT, img_id=2)}, 0.5, 0.5),
    'an annotation of area 0 does not make its category present':
        (small_set(annotation(1, BOX, img_id=2), annotation(2, BOX, area=0)),
         {**dets(MISS), **dets(HIT, img_id=2)}, 1, 1),
    'a detection of area 0 does not exist':
        (small_set(annotation(1, BOX)), dets(HIT, (0.9, 1, [9.0, 9.0, 0.0, 5.0])), 1, 1),
    'ignore: matched, but neither right nor wrong':
        (small_set(annotation(1, BOX), annotation(2, FAR, ignore=1)), dets(HIT, MISS), 1, 1),
    'ignore: only one detection is excused':
        (small_set(annotation(1, BOX), annotation(2, FAR, ignore=1)), dets(HIT, MISS, (0.8, 1, FAR)), 0.5, 0.5),
    'iscrowd is not read':
        (small_set(annotation(1, BOX, iscrowd=1)), dets(HIT), 1, 1),
    'only ignored annotations: no value': (small_set(annotation(1, BOX, ignore=1)), dets(HIT), -1, -1),
    'what counts is preferred to a better match that does not':
        (small_set(annotation(1, BOX, ignore=1), annotation(2, PART)), dets(HIT), 1, 1),
    'equal IoUs: the last annotation is taken, so that the next detection finds the first':
        (small_set(annotation(1, PART), annotation(2, PART)), dets(HIT, (0.4, 1, PART)), 1, 1),
    'the annotation of id 0 is taken, but a match with it is none':
        (small_set(annotation(0, BOX)), dets(HIT, (0.4, 1, BOX)), 0, 0),
    'outside of the area range: ignored':
        (small_set(annotation(1, BOX), annotation(2, LARGE)), dets(HIT, (0.9, 1, LARGE)), 1, 1),
    'an area of 96² is medium and large':
        (small_set(annotation(1, BOX, area=96.0**2)), dets(HIT), 1, 1),
    'the file says the area': (small_set(annotation(1, BOX, area=96.0**2 + 1)), dets(HIT), 1, -1),
    'no detection of the category': (small_set(annotation(1, BOX)), dets((0.5, 2, BOX)), 0, 0),
    'half of the recall is reached':
        (small_set(annotation(1, BOX), annotation(2, FAR)), dets(HIT), 51 / 101, 51 / 101),
}


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('name', QUIRKS)
def test_quirks(name, iou_type):
    annotations, detections, ap, ap_medium = QUIRKS[name]
    result = assert_equal_to_official(annotations, detections, iou_type)
    assert result.precision[0, :, 0, [0, 2]].mean(axis=1) == pytest.approx([ap, ap_medium])


def test_thresholds_are_reached_inclusively():
    annotations = small_set(annotation(1, [0.0, 0.0, 40.0, 40.0]))
    result = assert_equal_to_official(annotations, dets((0.5, 1, [0.0, 0.0, 40.0, 30.0])), 'bbox')
    assert result.recall[:, 0, 0].tolist() == [1.0] * 6 + [0.0] * 4  # 0.75 is one of the thresholds


def test_an_empty_list_of_detections():
    """The official package crashes there; a detection far below, of another category, is as good as none to it."""
    annotations = small_set(annotation(1, BOX), negative=[2])
    official = official_evaluation(annotations, official_results(dets((0.5, 2, BOX)), 'bbox'), 'bbox')
    for detections in ({}, {1: ([], [], np.empty((0, 4)), [])}):
        result = evaluate(annotations, detections, 'bbox')[1]
        assert np.array_equal(result.precision, official.eval['precision'])
        assert result.recall[:, 0, 0].tolist() == [0.0] * 10 and (result.recall[:, 1] == -1).all()


def test_masks_of_another_size_never_match():
    detections = dets(HIT)
    detections[1][3][0] = dict(rle_of(BOX), size=[SIZE[1], SIZE[0]])
    result = assert_equal_to_official(small_set(annotation(1, BOX)), detections, 'segm')
    assert result.recall[0, 0, 0] == 0


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.skipif(not REAL.is_file(), reason=f'{REAL.name} is not in data/')
def test_real_federated_annotations(iou_type):
    """100 images of LVIS v0.5 with their negative and not-exhaustive categories, detections near the annotations."""
    annotations = json.loads(REAL.read_text())
    rng, detections = np.random.default_rng(0), {}
    cat_ids = [category['id'] for category in annotations['categories']]
    sizes = {image['id']: (image['height'], image['width']) for image in annotations['images']}
    for entry in annotations['annotations']:
        columns = detections.setdefault(entry['image_id'], ([], [], [], []))
        for noise in (0.0, 0.03, 0.2):
            box = jitter(rng, entry['bbox'], noise)
            columns[0].append(float(rng.integers(0, 50)) / 50)
            columns[1].append(entry['category_id'] if rng.random() < 0.8 else int(rng.choice(cat_ids)))
            columns[2].append(box)
            columns[3].append(real_mask(entry['segmentation'], rng.normal(0, 20 * noise, 2), sizes[entry['image_id']]))
    result = assert_equal_to_official(annotations, detections, iou_type)
    assert result.precision.shape == (10, 101, 1230, 4) and result.precision[:, :, :, 0].max() > 0.5


def real_mask(polygons, shift, size):
    from pycocotools import mask
    moved = [(np.reshape(polygon, (-1, 2)) + shift).reshape(-1).tolist() for polygon in polygons]
    return mask.merge(mask.frPyObjects(moved, *size))
