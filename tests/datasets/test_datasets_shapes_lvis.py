import json

import numpy as np
import pycocotools.mask as mask_utils
import pytest
from PIL import Image

from nbn_mm.datasets.lvis_check import check_file
from nbn_mm.datasets.shapes_lvis import COLOURS, class_name, make_shapes_lvis


def load(files):
    return {split: json.loads(path.read_text()) for split, path in files.items()}


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """The default set, and its folder."""
    root = tmp_path_factory.mktemp('lvis') / 'shapes'
    return root, make_shapes_lvis(root)


def test_the_set_passes_the_check(shapes):
    root, files = shapes
    for path in files.values():
        assert check_file(path, root, images=True, workers=0).problems == []


def test_frequencies(shapes):
    data = load(shapes[1])
    train = data['train']
    counts = []
    for category in train['categories']:
        owners = [a['image_id'] for a in train['annotations'] if a['category_id'] == category['id']]
        assert (category['image_count'], category['instance_count']) == (len(set(owners)), len(owners))
        counts.append(len(set(owners)))
    assert counts == [max(1, int(36 * 20 ** (-i / 8))) for i in range(9)]
    assert ''.join(category['frequency'] for category in train['categories']) == 'fffcccrrr'
    assert data['val']['categories'] == train['categories']
    val = [len({a['image_id'] for a in data['val']['annotations'] if a['category_id'] == i}) for i in range(1, 10)]
    assert set(val) == {6}
    assert len({category['name'] for category in train['categories']}) == 9


def test_images_and_annotations_belong_together(shapes):
    """A shape's pixels lie in its mask, have its colour, and no two shapes overlap."""
    root, files = shapes
    for split, content in load(files).items():
        assert not {i['id'] for i in content['images']} & {
            i['id'] for i in load(files)['val' if split == 'train' else 'train']['images']}
        for image in content['images']:
            pixels = np.asarray(Image.open(root / image['file_name'])).astype(int)
            assert pixels.shape == (96, 96, 3) == (image['height'], image['width'], 3)
            entries = [a for a in content['annotations'] if a['image_id'] == image['id']]
            assert len(entries) <= 4
            masks = []
            for entry in entries:
                mask = mask_utils.decode(mask_utils.frPyObjects(entry['segmentation'], 96, 96))[..., 0].astype(bool)
                masks.append(mask)
                colour = COLOURS[class_name(entry['category_id'] - 1).split('_')[0]]
                assert np.abs(np.median(pixels[mask], axis=0) - colour).max() < 40
                assert abs(mask.sum() - entry['area']) < 0.15 * entry['area'] + 10
                rows, columns = np.nonzero(mask)
                box = np.array(entry['bbox'])
                assert np.abs(box[:2] - [columns.min(), rows.min()]).max() < 2
                assert np.abs(box[:2] + box[2:] - [columns.max() + 1, rows.max() + 1]).max() < 2
            assert np.sum(masks, axis=0).max(initial=0) <= 1


def test_federated_annotation(shapes):
    content = load(shapes[1])['train']
    negatives, hidden = 0, 0
    for image in content['images']:
        present = {a['category_id'] for a in content['annotations'] if a['image_id'] == image['id']}
        assert not present & set(image['neg_category_ids'])
        assert set(image['not_exhaustive_category_ids']) <= present
        negatives += len(image['neg_category_ids']) / (9 - len(present))
        hidden += bool(image['not_exhaustive_category_ids'])
    assert 0.4 < negatives / 60 < 0.6 and 0 < hidden < 15


def test_everything_follows_from_the_arguments(shapes, tmp_path):
    small = dict(num_train=6, num_val=3, image_size=48)
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        make_shapes_lvis(tmp_path / name, seed=seed, **small)
    contents = {name: {path.relative_to(tmp_path / name): path.read_bytes()
                       for path in sorted((tmp_path / name).rglob('*.*'))} for name in 'abc'}
    assert len(contents['a']) == 6 + 3 + 2
    assert contents['a'] == contents['b'] and contents['a'].keys() == contents['c'].keys()
    assert all(contents['a'][path] != contents['c'][path] for path in contents['a'])


@pytest.mark.parametrize('kwargs', [dict(num_classes=24, imbalance_factor=1), dict(num_classes=2),
                                    dict(num_classes=24, imbalance_factor=1000), dict(num_train=3, num_val=3)])
def test_extremes(kwargs, tmp_path):
    kwargs = dict(dict(num_train=10, num_val=6, image_size=32), **kwargs)
    files = make_shapes_lvis(tmp_path / 'set', **kwargs)
    num_classes = kwargs.get('num_classes', 9)
    assert len({class_name(label) for label in range(num_classes)}) == num_classes
    for content in load(files).values():
        numbers = np.bincount([a['image_id'] for a in content['annotations']])
        assert numbers.max() <= 4 and len(content['categories']) == num_classes
        assert {a['category_id'] for a in content['annotations']} == set(range(1, num_classes + 1))


@pytest.mark.parametrize('kwargs, match', [
    (dict(num_classes=25), 'num_classes=25 must be from 2 to 24'),
    (dict(num_classes=1), 'num_classes=1 must be from 2 to 24'),
    (dict(image_size=16), 'image_size=16 must be from 32'),
    (dict(num_train=0), 'num_train=0'),
    (dict(imbalance_factor=0.5), 'imbalance_factor=0.5'),
    (dict(rare=12), 'rare=12 and common=12'),
    (dict(num_val=2), 'num_val=2 images have room for 8 shapes, too few for num_classes=9, which need 9'),
])
def test_bad_arguments(kwargs, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        make_shapes_lvis(tmp_path / 'set', **kwargs)
    assert not (tmp_path / 'set').exists()


def test_nothing_is_written_over(tmp_path):
    (tmp_path / 'mine.txt').write_text('x')
    with pytest.raises(FileExistsError, match='is not empty'):
        make_shapes_lvis(tmp_path)
