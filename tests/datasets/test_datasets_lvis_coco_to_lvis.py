import json

import numpy as np
import pycocotools.mask as mask_utils
import pytest
from lvis_files import annotation, write
from references.lvis_official import official_evaluation

from nbn_mm.datasets.coco_to_lvis import coco_to_lvis
from nbn_mm.datasets.lvis_check import check_file


def coco(num_images, per_image, num_categories=6, seed=0):
    """A COCO-format file; category c is as frequent as 1 / c. Ids are neither contiguous nor in order."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, num_categories + 1)
    annotations = []
    for image in range(num_images):
        for _ in range(rng.integers(1, per_image + 1)):
            category = int(rng.choice(num_categories, p=weights / weights.sum()))
            box = np.round([*rng.uniform(0, 60, 2), *rng.uniform(5, 40, 2)], 2).tolist()
            annotations.append(annotation(len(annotations) + 1, image * 2, 90 - 10 * category, box, iscrowd=0))
    return dict(
        info=dict(description='a test'),
        images=[dict(id=i * 2, file_name=f'{i}.jpg', coco_url=f'http://images.cocodataset.org/a/{i}.jpg', width=100,
                     height=100) for i in range(num_images)],
        annotations=annotations,
        categories=[dict(id=90 - 10 * c, name=f'name{c}', supercategory='all', synset=f's.n.{c}')
                    for c in range(num_categories)])


def convert(folder, train, val=None, **kwargs):
    paths = {name: write(folder / f'coco_{name}.json', content)
             for name, content in (('train', train), ('val', val)) if content is not None}
    report = coco_to_lvis(paths['train'], folder / 'lvis', paths.get('val'), **kwargs)
    return report, *(json.loads((folder / f'lvis/{name}.json').read_text()) for name in paths)


def test_frequencies_are_those_of_the_training_file(tmp_path):
    train, val = coco(40, 4), coco(10, 4, seed=1)
    report, lvis_train, lvis_val = convert(tmp_path, train, val, rare=8, common=20)
    for category in lvis_train['categories']:
        images = [a['image_id'] for a in train['annotations'] if a['category_id'] == category['id']]
        assert (category['image_count'], category['instance_count']) == (len(set(images)), len(images))
        count = len(set(images))
        assert category['frequency'] == ('r' if count <= 8 else 'c' if count <= 20 else 'f')
    groups = [category['frequency'] for category in lvis_train['categories']]
    assert set(groups) == set('rcf')
    assert lvis_val['categories'] == lvis_train['categories']
    assert [(c['id'], c['name'], c['supercategory'], c['synset']) for c in lvis_train['categories']] == [
        (c['id'], c['name'], c['supercategory'], c['synset']) for c in train['categories']]
    assert f"{groups.count('r')} rare (at most 8 training images)" in report
    assert f"train: 40 images and {len(train['annotations'])} annotations" in report


def test_annotations_are_numbered_from_1(tmp_path):
    """The official evaluation takes a match with annotation 0 for none."""
    train = coco(6, 3)
    for entry in train['annotations']:
        entry['id'] -= 1
    report, lvis = convert(tmp_path, train)
    assert [a['id'] for a in lvis['annotations']] == [a['id'] + 1 for a in train['annotations']]
    assert 'annotation ids raised by 1' in report
    assert 'raised' not in convert(tmp_path / 'from_1', coco(6, 3))[0]


def test_absent_categories_are_negative(tmp_path):
    train = coco(30, 3)
    ids = {category['id'] for category in train['categories']}
    present = {image['id']: {a['category_id'] for a in train['annotations'] if a['image_id'] == image['id']}
               for image in train['images']}
    _, whole = convert(tmp_path, train)
    assert all(set(image['neg_category_ids']) == ids - present[image['id']] for image in whole['images'])
    assert all(image['not_exhaustive_category_ids'] == [] and 'coco_url' not in image for image in whole['images'])
    assert [image['file_name'] for image in whole['images']] == [image['file_name'] for image in train['images']]
    assert all('iscrowd' not in entry for entry in whole['annotations'])
    assert all(image['neg_category_ids'] == [] for image in convert(tmp_path, train, negatives='none')[1]['images'])
    drawn = [convert(tmp_path, train, negatives=2, seed=seed)[1]['images'] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    for image in drawn[0]:
        absent = ids - present[image['id']]
        assert set(image['neg_category_ids']) <= absent and len(image['neg_category_ids']) == min(2, len(absent))


def test_crowds_become_not_exhaustive(tmp_path):
    train = coco(4, 3)
    rle = mask_utils.frPyObjects([[0, 0, 90, 0, 90, 90]], 100, 100)[0]
    crowd = dict(id=500, image_id=2, category_id=40, bbox=[0, 0, 90, 90], area=4050, iscrowd=1,
                 segmentation=dict(size=rle['size'], counts=rle['counts'].decode()))
    train['annotations'] = [a for a in train['annotations'] if a['category_id'] != 40] + [crowd]
    report, result = convert(tmp_path, train)
    images = {image['id']: image for image in result['images']}
    assert images[2]['not_exhaustive_category_ids'] == [40] and 40 not in images[2]['neg_category_ids']
    assert 40 in images[0]['neg_category_ids']
    assert 500 not in {a['id'] for a in result['annotations']}
    counts = {c['id']: (c['image_count'], c['instance_count']) for c in result['categories']}
    assert counts[40] == (0, 0)
    assert 'crowd annotations left out: 1; (image, category) pairs not exhaustive: 1' in report
    assert 'without any training image: name3, name5' in report


def test_a_missing_area_is_computed(tmp_path):
    train = coco(4, 3)
    expected = [entry.pop('area') for entry in train['annotations']]
    for entry in train['annotations'][::2]:
        entry['segmentation'] = mask_utils.frPyObjects(entry['segmentation'], 100, 100)[0]
        entry['segmentation']['counts'] = entry['segmentation']['counts'].decode()
    _, result = convert(tmp_path, train)
    sides = [sum(entry['bbox'][2:]) for entry in result['annotations']]
    for entry, area, side in zip(result['annotations'], expected, sides, strict=True):
        assert abs(entry['area'] - area) < side + 1 and entry['area'] > 0, 'a mask has whole pixels'
    assert result['annotations'][0]['segmentation'] == train['annotations'][0]['segmentation'], 'kept as it is'
    _, result = convert(tmp_path, train, boxes_only=True)
    assert all('segmentation' not in entry for entry in result['annotations'])


def detections(content, seed=0):
    """Ground truth, shifted and partly given a wrong category, and boxes of nothing."""
    rng = np.random.default_rng(seed)
    ids = [category['id'] for category in content['categories']]
    results = []
    for entry in content['annotations']:
        for _ in range(2):
            box = np.maximum(np.array(entry['bbox']) + rng.normal(0, 3, 4), 1).tolist()
            category = entry['category_id'] if rng.random() < 0.7 else int(rng.choice(ids))
            results.append(dict(image_id=entry['image_id'], category_id=category, bbox=box, score=rng.random()))
    return results


def test_official_lvis_evaluation_agrees_with_coco_evaluation(tmp_path):
    """With all absent categories negative and no crowds, both protocols are the same."""
    pytest.importorskip('lvis')
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    train, val = coco(40, 4), coco(15, 4, seed=1)
    _, _, lvis_val = convert(tmp_path, train, val)
    results = detections(val)
    truth = COCO()
    truth.dataset = val
    truth.createIndex()
    judge = COCOeval(truth, truth.loadRes([dict(result) for result in results]), 'bbox')
    judge.evaluate()
    judge.accumulate()
    expected = judge.eval['precision'][:, :, :, 0, -1]
    official = official_evaluation(lvis_val, results, 'bbox').eval['precision'][:, :, :, 0]
    assert official.shape == expected.shape and (expected > 0).mean() > 0.2
    np.testing.assert_allclose(official, expected, atol=1e-12)


def test_negatives_decide_what_a_false_detection_costs(tmp_path):
    pytest.importorskip('lvis')
    train = coco(10, 2)
    crowd = annotation(900, 0, 40, (0, 0, 50, 50), iscrowd=1)
    train['annotations'] = [entry for entry in train['annotations'] if entry['category_id'] != 40]
    train['annotations'] += [annotation(901, 18, 40, (5, 5, 20, 20)), crowd]
    right = [dict(image_id=a['image_id'], category_id=a['category_id'], bbox=a['bbox'], score=0.5)
             for a in train['annotations'] if not a.get('iscrowd')]
    in_crowd = dict(image_id=0, category_id=40, bbox=[60, 60, 9, 9], score=0.9)
    elsewhere = dict(image_id=4, category_id=40, bbox=[60, 60, 9, 9], score=0.9)
    for negatives, extra, perfect in (('all', [], True), ('all', [in_crowd], True), ('all', [elsewhere], False),
                                      ('none', [elsewhere], True)):
        _, result = convert(tmp_path, train, negatives=negatives)
        judge = official_evaluation(result, right + extra, 'bbox')
        assert bool(judge.results['AP'] > 0.999) is perfect, (negatives, extra)


def test_masks_are_evaluated(tmp_path):
    pytest.importorskip('lvis')
    _, result = convert(tmp_path, coco(6, 3))
    found = [dict(image_id=a['image_id'], category_id=a['category_id'], score=0.5,
                  segmentation=mask_utils.frPyObjects(a['segmentation'], 100, 100)[0]) for a in result['annotations']]
    assert official_evaluation(result, found, 'segm').results['AP'] == pytest.approx(1, abs=1e-9)
    (problem, ) = check_file(tmp_path / 'lvis/train.json', tmp_path).problems
    assert '6 of 6 images are missing' in problem


def broken(**kwargs):
    content = coco(3, 2)
    content['annotations'][1].update(kwargs)
    return content


@pytest.mark.parametrize('train, kwargs, match', [
    (broken(segmentation=[]), {}, r'annotations without `segmentation`: ids 2\. .*--boxes-only'),
    (broken(area=None, segmentation=[[1, 2]]), {}, 'annotation 2 has no `area`, and it can.t be computed'),
    (broken(category_id=5), {}, r'ids 2 \(category_id=5\)'),
    (broken(id=1), {}, 'annotation ids that are not unique: 1'),
    (dict(coco(3, 2), annotations=[]), {}, 'there are no annotations'),
    (coco(3, 2), dict(negatives='some'), "negatives='some' must be 'all', 'none' or a number"),
    (coco(3, 2), dict(rare=5, common=4), 'rare=5 and common=4'),
])
def test_bad_input(train, kwargs, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        convert(tmp_path, train, **kwargs)
    assert not (tmp_path / 'lvis/train.json').exists()


def test_files_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"only in `val`: \(999, 'x'\)"):
        convert(tmp_path, coco(3, 2), dict(coco(3, 2), categories=[*coco(3, 2)['categories'], dict(id=999, name='x')]))
    with pytest.raises(FileNotFoundError, match="train='.*nowhere.json': there is no such file"):
        coco_to_lvis(tmp_path / 'nowhere.json', tmp_path)
    convert(tmp_path, coco(3, 2))
    with pytest.raises(ValueError, match='in LVIS format already'):
        coco_to_lvis(tmp_path / 'lvis/train.json', tmp_path / 'again')
    source = write(tmp_path / 'own/train.json', coco(3, 2))
    with pytest.raises(ValueError, match='is itself to be converted'):
        coco_to_lvis(source, tmp_path / 'own')
    assert json.loads(source.read_text()) == coco(3, 2)
