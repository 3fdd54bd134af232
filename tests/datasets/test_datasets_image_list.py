import json
import re
import shutil
import time

import numpy as np
import pytest
from image_files import imagenet_lt, inaturalist, places_lt

pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')
from mmpretrain.registry import DATASETS  # noqa: E402

from nbn_mm.datasets import count_classes, select_subset  # noqa: E402
from nbn_mm.datasets.image_list import (  # noqa: E402
    ImageList,
    class_folders,
    find_missing,
    read_image_list,
    scan_image_folder,
    write_image_list,
)
from nbn_mm.datasets.inaturalist_json import read_inaturalist  # noqa: E402
from nbn_mm.datasets.known_sets import KNOWN_SETS, differences  # noqa: E402


def build(kind, root, **kwargs):
    return DATASETS.build(dict(type=kind, data_root=str(root), **kwargs))


def test_imagenet_lt_has_the_images_of_its_lists(tmp_path):
    imagenet_lt(tmp_path)
    train, val, test = (build('ImageNetLT', tmp_path, split=split) for split in ('train', 'val', 'test'))
    assert (len(train), len(val), len(test)) == (12, 3, 6)
    assert count_classes(train).images == (6, 4, 2)
    assert train.metainfo['classes'] == val.metainfo['classes'] == test.metainfo['classes']
    assert train.metainfo['classes'] == ('n01440', 'n01441', 'n01442')
    lines = (tmp_path / 'ImageNet_LT_train.txt').read_text().split()
    for index in range(len(train)):
        info = train.get_data_info(index)
        assert info['img_path'] == f'{tmp_path}/{lines[2 * index]}' and info['gt_label'] == int(lines[2 * index + 1])


def test_validation_images_that_lie_side_by_side_are_found(tmp_path):
    imagenet_lt(tmp_path, flat_val=True)
    test = build('ImageNetLT', tmp_path, split='test')
    assert test.get_data_info(0)['img_path'] == f'{tmp_path}/val/ILSVRC2012_val_00.JPEG'
    assert [test.get_data_info(i)['gt_label'] for i in range(6)] == [0, 0, 1, 1, 2, 2]


def test_places_lt_has_scenes_in_nested_folders(tmp_path):
    places_lt(tmp_path)
    train, val, test = (build('PlacesLT', tmp_path, split=split) for split in ('train', 'val', 'test'))
    assert count_classes(train).images == (6, 4, 2) and (len(val), len(test)) == (3, 3)
    assert train.metainfo['classes'] == val.metainfo['classes']
    assert train.metainfo['classes'] == ('a/airfield', 'a/apartment_building/outdoor', 'b/bar')
    assert [test.get_data_info(i)['img_path'][-14:-4] for i in range(3)] == [f'l_{i:08}' for i in range(3)]
    assert [test.get_data_info(i)['gt_label'] for i in range(3)] == [0, 1, 2]


def test_inaturalist_reads_its_json(tmp_path):
    inaturalist(tmp_path)
    train, val = build('INaturalist2018', tmp_path), build('INaturalist2018', tmp_path, split='val')
    assert count_classes(train).images == (5, 3) and len(val) == 4
    assert train.metainfo['classes'] == ('1000', '999')
    for index in range(len(train)):
        info = train.get_data_info(index)
        assert f'/Aves/{info["gt_label"]}/' in info['img_path']
    names = [dict(id=0, name='Corvus corax'), dict(id=1, name='Pica pica')]
    (tmp_path / 'categories.json').write_text(json.dumps(names))
    assert build('INaturalist2018', tmp_path).metainfo['classes'] == ('Corvus corax', 'Pica pica')


def test_reading_inaturalist_is_linear(tmp_path):
    def seconds(number):
        data = dict(images=[dict(id=i, file_name=f'{i}.jpg') for i in range(number)],
                    annotations=[dict(image_id=i, category_id=i % 50) for i in reversed(range(number))],
                    categories=[dict(id=i, name=str(i)) for i in range(50)])
        path = tmp_path / f'{number}.json'
        path.write_text(json.dumps(data))
        start = time.perf_counter()
        images = read_inaturalist(str(path))
        assert len(images.paths) == number and images.labels[51] == 1
        return time.perf_counter() - start

    seconds(1000)
    # twenty times the images: a quadratic reader takes 400 times as long
    assert seconds(40000) < 120 * seconds(2000)


def test_any_list_is_made_long_tailed(tmp_path):
    paths = [f'{label}/{i}.png' for label in range(4) for i in range(20)]
    labels = np.repeat(np.arange(4), 20)
    write_image_list(ImageList(tuple(paths), labels, ''), tmp_path / 'list.txt')
    data = build('ImageListLT', tmp_path, ann_file='list.txt', imbalance_factor=10, check_exists=False)
    assert count_classes(data).images == (20, 9, 4, 2)
    expected = select_subset(labels, (20, 9, 4, 2))
    assert [data.get_data_info(i)['img_path'] for i in range(len(data))] == [f'{tmp_path}/{paths[i]}' for i in expected]
    other = build('ImageListLT', tmp_path, ann_file='list.txt', imbalance_factor=10, subset=3, check_exists=False)
    assert other.subset_hash != data.subset_hash and len(other) == len(data)


def test_a_folder_is_a_data_set(tmp_path):
    imagenet_lt(tmp_path)
    data = build('ImageListLT', tmp_path, data_prefix='train')
    assert count_classes(data).images == (7, 5, 3) and data.metainfo['classes'][1] == 'n01441'
    scanned = scan_image_folder(tmp_path / 'train')
    assert scanned.paths[0] == 'n01440/n01440_0.JPEG' and class_folders(scanned) == scanned.classes
    named = build('ImageListLT', tmp_path, data_prefix='train', classes=['a', 'b', 'c'])
    assert named.metainfo['classes'] == ('a', 'b', 'c')


def test_labels_of_a_folder_follow_the_names_given(tmp_path):
    imagenet_lt(tmp_path)
    names = ('n01442', 'n01440', 'n01441')
    for given in (dict(classes=names), dict(metainfo=dict(classes=names))):
        data = build('ImageListLT', tmp_path, data_prefix='train', **given)
        assert count_classes(data).classes == names and count_classes(data).images == (3, 7, 5)
    shutil.rmtree(tmp_path / 'train' / 'n01440')
    given = dict(data_prefix='train', classes=['n01440', 'n01441', 'n01442'])
    data = build('ImageListLT', tmp_path, test_mode=True, **given)
    assert {data[i]['gt_label'] for i in range(len(data))} == {1, 2}, 'a class may be absent where one only evaluates'
    with pytest.raises(ValueError, match='1 of 3 class ids have no image'):
        build('ImageListLT', tmp_path, **given)
    (tmp_path / 'train' / 'n01440').mkdir()
    assert len(build('ImageListLT', tmp_path, test_mode=True, data_prefix='train')) == 8
    with pytest.raises(ValueError, match='1 class folders hold no image'):
        build('ImageListLT', tmp_path, data_prefix='train')
    with pytest.raises(ValueError, match=r"has 3 classes, and 3 of them \(.*\) are none of the 2 names given"):
        build('ImageListLT', tmp_path, data_prefix='train', classes=['a', 'b'], test_mode=True)


def test_absent_images_are_counted_and_five_are_named(tmp_path):
    imagenet_lt(tmp_path, counts=(9, 4, 2))
    for i in range(7):
        (tmp_path / f'train/n01440/n01440_{i}.JPEG').unlink()
    with pytest.raises(FileNotFoundError) as error:
        build('ImageNetLT', tmp_path)
    message = str(error.value)
    assert '7 of 15 images' in message and message.count('.JPEG') == 5 and 'n01440_4.JPEG, …' in message
    assert len(build('ImageNetLT', tmp_path, check_exists=False)) == 15
    paths = read_image_list(tmp_path / 'ImageNet_LT_train.txt').paths
    assert find_missing(paths, tmp_path) == [p for p in paths if not (tmp_path / p).exists()]


@pytest.mark.parametrize(('lines', 'message'), [
    (['a.jpg 0', 'b.jpg', 'c.jpg x', 'd.jpg 1'], '2 lines are no `path label`: line 2, line 3'),
    (['a.jpg 0', 'b.jpg ³', 'caf\udce9.jpg 1'], '2 lines are no `path label`: line 2, line 3'),
    (['a.jpg 0', 'b.jpg 1', '', 'a.jpg 1'], r'1 images stand twice: line 4 \(as line 1, a.jpg\)'),
    (['a.jpg 0', 'b.jpg 3'], '2 of 4 class ids have no image: 1, 2'),
    (['a.jpg 0', 'b.jpg -1'], 'line 2'),
    ([''], 'lists no images'),
])
def test_wrong_lists(tmp_path, lines, message):
    (tmp_path / 'list.txt').write_text('\n'.join(lines), encoding='utf-8', errors='surrogateescape')
    with pytest.raises(ValueError, match=message):
        build('ImageListLT', tmp_path, ann_file='list.txt', check_exists=False)


def test_lists_of_other_editors(tmp_path):
    (tmp_path / 'list.txt').write_bytes('\ufeffone cat.jpg 0\r\ncafé.jpg\t1\r\n'.encode())
    images = read_image_list(tmp_path / 'list.txt')
    assert images.paths == ('one cat.jpg', 'café.jpg') and images.labels.tolist() == [0, 1]


def test_labels_outside_of_the_classes(tmp_path):
    (tmp_path / 'list.txt').write_text('a.jpg 0\nb.jpg 1\nc.jpg 2\n')
    with pytest.raises(ValueError, match=r'labels outside of the 2 classes \(0 … 1\): 2'):
        build('ImageListLT', tmp_path, ann_file='list.txt', classes=['x', 'y'], check_exists=False, test_mode=True)
    with pytest.raises(FileNotFoundError, match="there is no file 'nowhere.txt'"):
        build('ImageListLT', tmp_path, ann_file='list.txt', classes='nowhere.txt')


@pytest.mark.parametrize(('change', 'message'), [
    (lambda data: data.pop('categories'), 'has no `categories`'),
    (lambda data: data['annotations'].pop(), r'1 images have no annotation: \S+\.jpg'),
    (lambda data: data['annotations'][0].update(category_id=9), 'category_id=9'),
    (lambda data: data['annotations'].append(dict(data['annotations'][0], category_id=0)), 'several categories'),
    (lambda data: data['images'][1].pop('file_name'), "an entry lacks the field 'file_name'"),
    (lambda data: data['categories'].append(dict(id=7, name='7')), '1 of 3 class ids have no image: 2'),
])
def test_wrong_inaturalist_files(tmp_path, change, message):
    inaturalist(tmp_path)
    data = json.loads((tmp_path / 'train2018.json').read_text())
    change(data)
    (tmp_path / 'train2018.json').write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        build('INaturalist2018', tmp_path)
    (tmp_path / 'train2018.json').write_text('{"images": [')
    with pytest.raises(ValueError, match=r'train2018\.json is no JSON file, or not all of one'):
        build('INaturalist2018', tmp_path)


@pytest.mark.parametrize('kwargs', [dict(imbalance_factor=0.5), dict(subset='some'), dict(imbalance_factor=2,
                                                                                        imbalance_type='flat')])
def test_wrong_options_come_before_the_files(tmp_path, kwargs):
    with pytest.raises(ValueError, match='imbalance_factor|subset|imbalance_type'):
        build('ImageListLT', tmp_path, ann_file='absent.txt', **kwargs)
    with pytest.raises(ValueError, match=re.escape("split='dev' must be one of ('train', 'val', 'test')")):
        build('ImageNetLT', tmp_path, split='dev')


def test_published_sets_are_recognised():
    known = KNOWN_SETS['ImageNet-LT']['train']
    counts = np.full(1000, 114)
    counts[0], counts[1] = 1280, 5
    counts[2] += known.images - counts.sum()
    labels = np.repeat(np.arange(1000), counts)
    images = ImageList(tuple(map(str, range(len(labels)))), labels, 'list')
    assert differences(images, 'ImageNet-LT', 'train') == []
    less = ImageList(images.paths[:-1], labels[:-1], 'list')
    assert differences(less, 'ImageNet-LT', 'train') == ['115845 images, published: 115846']
    for splits in KNOWN_SETS.values():
        for name, split in splits.items():
            assert split.largest > split.smallest if name == 'train' else split.largest == split.smallest
            if name != 'train':
                assert split.images == split.classes * split.largest
