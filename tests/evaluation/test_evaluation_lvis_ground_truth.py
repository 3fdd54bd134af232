import copy
import json

import numpy as np
import pytest
from references.lvis_cases import SIZE, random_annotations
from references.lvis_official import official_evaluation

from nbn_mm.evaluation.functional import LVISGroundTruth
from nbn_mm.evaluation.functional.lvis_segmentation import PackedSegmentations, pack_segmentation


@pytest.fixture
def annotations():
    return random_annotations(np.random.default_rng(0))


def by_hand(annotations, img_id):
    """The image's annotations that exist, by category, in the file's order."""
    own = [a for a in annotations['annotations'] if a['image_id'] == img_id and a['area'] > 0]
    return sorted(own, key=lambda a: a['category_id'])


@pytest.mark.parametrize('from_file', [True, False])
def test_everything_is_found_again(annotations, from_file, tmp_path):
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(annotations))
    before = copy.deepcopy(annotations)
    truth = LVISGroundTruth(path if from_file else annotations)
    assert annotations == before
    categories = sorted(annotations['categories'], key=lambda category: category['id'])
    assert truth.cat_ids.tolist() == [c['id'] for c in categories]
    assert truth.cat_names == [c['name'] for c in categories]
    assert truth.frequencies == [c['frequency'] for c in categories]
    assert truth.image_counts.tolist() == [c['image_count'] for c in categories]
    assert truth.instance_counts.tolist() == [c['instance_count'] for c in categories]
    assert truth.img_ids == sorted(image['id'] for image in annotations['images'])
    for image in annotations['images']:
        own, where = by_hand(annotations, image['id']), truth.annotations_of(image['id'])
        assert truth.cat_ids[truth.labels[where]].tolist() == [a['category_id'] for a in own]
        assert truth.boxes[where].tolist() == [a['bbox'] for a in own]
        assert truth.areas[where].tolist() == [a['area'] for a in own]
        assert ((truth.counting[where] & np.uint64(1)) == 0).tolist() == [bool(a.get('ignore')) for a in own]
        assert truth.cat_ids[truth.negative(image['id'])].tolist() == image['neg_category_ids']
        assert truth.cat_ids[truth.not_exhaustive(image['id'])].tolist() == image['not_exhaustive_category_ids']
        assert truth.image_size(image['id']) == SIZE


def test_masks_equal_the_official_ones(annotations):
    truth = LVISGroundTruth(annotations)
    result = [dict(image_id=annotations['images'][0]['id'], category_id=2, score=1.0, bbox=[0, 0, 1, 1])]
    official = official_evaluation(annotations, result, 'bbox').lvis_gt
    kinds = set()
    for img_id in truth.img_ids:
        own = by_hand(annotations, img_id)
        for entry, rle in zip(own, truth.rles(img_id, range(len(own))), strict=True):
            expected = official.ann_to_rle(entry)
            assert rle['size'] == expected['size']
            assert to_bytes(rle['counts']) == to_bytes(expected['counts'])
            segmentation = entry['segmentation']
            kinds.add(len(segmentation) if isinstance(segmentation, list) else type(segmentation['counts']))
    assert kinds == {1, 2, str, list}


def to_bytes(counts):
    return counts.encode() if isinstance(counts, str) else counts


@pytest.mark.parametrize('polygon, dtype', [
    ([0.0, 1.25, 639.99, 479.01, 3.1, 5.07], np.uint16),
    ([0.0, 1.25, 1900.07, 479.01, 3.1, 5.07], np.int32),
    ([-0.5, 1.25, 639.99, 479.01, 3.1, 5.07], np.int32),
    ([0.0, 1.25, 1 / 3, 479.01, 3.1, 5.07], np.float64),
])
def test_coordinates_are_exact_in_the_smallest_type(polygon, dtype):
    packed = PackedSegmentations([pack_segmentation([polygon, polygon[::-1]]), None, pack_segmentation([polygon])])
    assert packed._coordinates.dtype == dtype and len(packed) == 3
    assert packed.polygons(0) == [polygon, polygon[::-1]] and packed.polygons(1) == []
    assert packed.polygons(2) == [polygon]


def test_a_large_file_takes_little_memory():
    """A coordinate takes 2 bytes, an annotation a few dozen more."""
    rng = np.random.default_rng(0)
    polygons = rng.uniform(0, 600, (500, 80)).round(2).tolist()
    packed = PackedSegmentations(pack_segmentation([polygon]) for polygon in polygons)
    assert packed.nbytes == 500 * (80 * 2 + 16) + 16


def test_a_subset_of_the_images(annotations):
    chosen = [image['id'] for image in annotations['images']][:3]
    truth = LVISGroundTruth(annotations, iter(chosen))
    assert truth.img_ids == sorted(chosen)
    assert len(truth.labels) == sum(len(by_hand(annotations, img_id)) for img_id in chosen)
    with pytest.raises(ValueError, match='image id .* is not among the images'):
        truth.index(annotations['images'][5]['id'])
    with pytest.raises(ValueError, match='img_ids holds image -1, which the annotations does not have'):
        LVISGroundTruth(annotations, [-1])


def test_without_frequencies_and_counts(annotations):
    for category in annotations['categories']:
        for key in ('frequency', 'image_count', 'instance_count', 'name'):
            del category[key]
    truth = LVISGroundTruth(annotations)
    assert truth.frequencies is None and truth.image_counts is None and truth.instance_counts is None
    assert truth.cat_names == [str(cat_id) for cat_id in truth.cat_ids]


def test_without_masks(annotations):
    truth = LVISGroundTruth(annotations, with_masks=False)
    with pytest.raises(ValueError, match='with_masks=False'):
        truth.rles(truth.img_ids[0], [0])


def test_an_annotation_without_a_mask(annotations):
    entry = annotations['annotations'][3]
    entry['segmentation'] = []
    with pytest.raises(ValueError, match=f'without `segmentation`: ids {entry["id"]}; masks cannot be evaluated'):
        LVISGroundTruth(annotations)
    LVISGroundTruth(annotations, with_masks=False)


def test_an_image_without_a_size(annotations):
    del annotations['images'][0]['height']
    with pytest.raises(ValueError, match="has no 'height' and 'width'"):
        LVISGroundTruth(annotations).image_size(annotations['images'][0]['id'])


def broken(key, index, **changes):
    def change(annotations):
        for name, value in changes.items():
            annotations[key][index].pop(name)
            if value is not None:
                annotations[key][index][name] = value
    return change


@pytest.mark.parametrize('change, message', [
    (lambda a: a.pop('categories'), "no list 'categories'"),
    (lambda a: a['categories'].clear(), 'has no categories'),
    (broken('categories', 0, frequency=None), "has no 'frequency', though others have it"),
    (broken('categories', 0, frequency='x'), "has frequency 'x'; it must be 'r', 'c' or 'f'"),
    (lambda a: a['categories'].append(a['categories'][0]), 'category id .* stands there twice'),
    (lambda a: a['images'].append(a['images'][0]), 'image id .* stands there twice'),
    (lambda a: a['annotations'].append(a['annotations'][0]), 'annotation id .* stands there twice'),
    (broken('annotations', 0, category_id=999), 'has category id 999, which is not among the categories'),
    (broken('annotations', 0, image_id=999), 'is of image 999, which is not among the images'),
    (broken('annotations', 0, area=None), r"an annotation has no \['area'\]"),
    (broken('images', 0, neg_category_ids=None), "has no 'neg_category_ids'.*converted to LVIS format"),
])
def test_errors(annotations, change, message):
    change(annotations)
    with pytest.raises(ValueError, match=message):
        LVISGroundTruth(annotations)


def test_unknown_category_in_an_image_list_says_nothing(annotations):
    image = annotations['images'][0]
    before = list(image['neg_category_ids'])
    image['neg_category_ids'] = [*before, 10**6]
    truth = LVISGroundTruth(annotations)
    assert truth.cat_ids[truth.negative(image['id'])].tolist() == before


def test_errors_of_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'there is no annotation file .*none\.json.*data_root'):
        LVISGroundTruth(tmp_path / 'none.json')
    path = tmp_path / 'broken.json'
    path.write_text('{"images": [')
    with pytest.raises(ValueError, match=r'broken\.json.*is no JSON.*download'):
        LVISGroundTruth(str(path))
    path.write_text('[1, 2]')
    with pytest.raises(ValueError, match="not in LVIS format: it has no list 'images'"):
        LVISGroundTruth(path)
