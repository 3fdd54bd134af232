import json

import numpy as np
import pytest
from lvis_files import annotation, lvis_v1_like, tiny, write
from mmengine.dataset import ClassBalancedDataset
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from nbn_mm.datasets import count_classes
from nbn_mm.datasets.shapes_lvis import make_shapes_lvis
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmdet') is not None, reason='needs mmdet')


def build(content=None, folder=None, type='LVISFormatDataset', **kwargs):
    from mmdet.registry import DATASETS
    if content is not None:
        write(folder / 'ann.json', content)
    kwargs = dict(
        dict(data_root=str(folder), ann_file='ann.json', data_prefix=dict(img=''), serialize_data=False), **kwargs)
    if type == 'LVISFormatDataset':
        kwargs.setdefault('check_images', False)
    return DATASETS.build(dict(type=type, **kwargs))


@pytest.mark.parametrize('kwargs', [dict(filter_cfg=dict(filter_empty_gt=True, min_size=32)), dict(test_mode=True),
                                    dict(indices=7, serialize_data=True)])
def test_data_of_an_lvis_v1_file_are_those_of_the_host(kwargs, tmp_path):
    pytest.importorskip('lvis')
    from mmdet.datasets import LVISV1Dataset
    classes = LVISV1Dataset.METAINFO['classes']
    ours = build(lvis_v1_like(classes), tmp_path, **kwargs)
    host = build(None, tmp_path, type='LVISV1Dataset', **kwargs)
    assert len(ours) == len(host) > 5
    assert [ours.get_data_info(i) for i in range(len(ours))] == [host.get_data_info(i) for i in range(len(host))]
    assert [ours.get_cat_ids(i) for i in range(len(ours))] == [host.get_cat_ids(i) for i in range(len(host))]
    assert ours.metainfo['classes'] == tuple(classes) and ours.metainfo['palette'] is host.metainfo['palette']
    assert (ours.cat_ids, ours.cat2label) == (host.cat_ids, host.cat2label)


def test_classes_are_those_of_the_file_by_category_id(tmp_path):
    dataset = build(tiny(), tmp_path, data_prefix=dict(img='pictures'))
    assert dataset.metainfo['classes'] == ('two', 'five', 'seven')
    assert dataset.metainfo['frequencies'] == ('r', 'r', 'r') and dataset.metainfo['image_counts'] == (1, 1, 1)
    first = dataset.get_data_info(0)
    assert first['img_path'] == str(tmp_path / 'pictures/sub/11.png')
    assert [instance['bbox_label'] for instance in first['instances']] == [2, 0, 2]
    assert first['instances'][1]['bbox'] == [5, 5, 25, 15]


def test_file_name_counts_unless_the_url_is_cocos(tmp_path):
    content = tiny()
    content['images'][0]['coco_url'] = 'https://images.cocodataset.org/val2017/11.jpg'
    content['images'][1]['coco_url'] = ''
    content['images'][2]['coco_url'] = 'https://example.com/13.jpg'
    dataset = build(content, tmp_path)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(3)]
    assert paths == [str(tmp_path / name) for name in ('val2017/11.jpg', 'sub/12.png', 'sub/13.png')]


def test_without_frequency(tmp_path):
    dataset = build(tiny(categories=[dict(id=i, name=str(i)) for i in (7, 2, 5)]), tmp_path)
    assert dataset.metainfo['frequencies'] is None and dataset.metainfo['image_counts'] is None


def test_lazy_names_need_no_annotations(tmp_path):
    """Names are read without parsing the rest, and are right if the shortcut misses them."""
    categories = json.dumps([dict(id=3, name='b "annotations" é'), dict(id=1, name='a')])
    broken = build('{"images": [], "categories": ' + categories + ', "annotations": [{broken', tmp_path, lazy_init=True)
    assert broken.metainfo['classes'] == ('a', 'b "annotations" é')
    with pytest.raises(ValueError, match='is no JSON file'):
        broken.full_init()
    decoys = dict(decoy=[dict(categories=[dict(id=9)])], info=dict(categories='none'))
    assert build(dict(tiny(), **decoys), tmp_path, lazy_init=True).metainfo['classes'] == ('two', 'five', 'seven')
    absent = build(None, tmp_path, lazy_init=True, ann_file='nowhere.json')
    assert 'classes' not in absent.metainfo


@pytest.mark.parametrize('lazy', [False, True])
def test_a_byte_order_mark_is_no_harm(tmp_path, lazy):
    """Editors of Windows write one; the evaluation reads such files too."""
    dataset = build('\ufeff' + json.dumps(tiny()), tmp_path, lazy_init=lazy)
    dataset.full_init()
    assert dataset.metainfo['classes'] == ('two', 'five', 'seven')


def test_given_classes(tmp_path):
    for lazy in (False, True):
        dataset = build(tiny(), tmp_path, metainfo=dict(classes=['two', 'five', 'seven']), lazy_init=lazy)
        assert dataset.metainfo['classes'] == ('two', 'five', 'seven')
    with pytest.raises(ValueError, match=r"3 names and the file 3; from label 1 on.*\['seven', 'five'\].*Remove"):
        build(tiny(), tmp_path, metainfo=dict(classes=('two', 'seven', 'five')))
    with pytest.raises(ValueError, match="classes='two' must be a list"):
        build(tiny(), tmp_path, metainfo=dict(classes='two'))


def changed(key, index, **kwargs):
    content = tiny()
    content[key][index].update(kwargs)
    return content


def without(key, index, name):
    content = tiny()
    del content[key][index][name]
    return content


@pytest.mark.parametrize('content, match', [
    ('{"images": [', 'ann_file=.*is no JSON file'),
    ('[1]', 'no COCO- or LVIS-format file.*holds list'),
    (dict(images=[]), r"must hold the lists `images` and `categories`, but it holds \['images'\]"),
    (tiny(images=[], annotations=[]), 'there are no images'),
    (tiny(annotations=[]), 'there are no annotations'),
    (tiny(categories=[]), 'there are no categories'),
    (changed('annotations', 1, category_id=99), r'category_id that `categories` lacks: ids 2 \(category_id=99\)'),
    (changed('annotations', 2, image_id=99), r'image_id that `images` lacks: ids 3 \(image_id=99\)'),
    (changed('annotations', 2, id=1), 'annotation ids that are not unique: 1'),
    (changed('images', 2, id=11), 'image ids that are not unique: 11'),
    (changed('categories', 2, id=7), 'category ids that are not unique: 7'),
    (changed('categories', 2, name='two'), 'category names that are not unique: two'),
    (changed('categories', 1, frequency='x'), r"`frequency` must be one of r, c, f.*2 \('x'\)"),
    (without('categories', 1, 'frequency'), 'some categories have a `frequency` and others have none: ids 2'),
    (without('categories', 1, 'name'), 'categories without an integer `id` or a `name`'),
    (without('images', 1, 'file_name'), 'neither `file_name` nor a `coco_url`.*ids 12'),
    (without('images', 1, 'width'), r'without a `width` and a `height` in pixels: ids 12 \(None x 30\)'),
    (changed('annotations', 0, bbox=[0, 0, float('nan'), 1]), '`bbox` is not four finite numbers: ids 1'),
    (without('annotations', 0, 'bbox'), '`bbox` is not four finite numbers: ids 1'),
    (without('annotations', 0, 'area'), '`area` is no finite number: ids 1'),
    (without('annotations', 0, 'id'), 'annotations without `id`'),
])
def test_bad_files(content, match, tmp_path):
    with pytest.raises(ValueError, match=match) as error:
        build(content, tmp_path)
    assert 'ann.json' in str(error.value) and '\n' not in str(error.value)


def test_missing_annotation_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.json.*Check `ann_file` and `data_root`.*docs/lvis_data.md'):
        build(None, tmp_path, ann_file='nowhere.json')


def test_images_of_an_evaluation_server_have_no_annotations(tmp_path):
    content = tiny()
    del content['annotations']
    assert len(build(content, tmp_path, test_mode=True)) == 3
    assert len(build(dict(content, annotations=[]), tmp_path, test_mode=True)) == 3
    with pytest.raises(ValueError, match='there are no annotations'):
        build(content, tmp_path)


def test_missing_images(tmp_path):
    for name in ('sub/11.png', 'sub/13.png'):
        write(tmp_path / name, 'x')
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are missing: \S+sub/12.png. Check `data_root` and "
                                                r'`data_prefix` of the data set \(img='):
        build(tiny(), tmp_path, check_images=True)
    with pytest.raises(FileNotFoundError, match='3 of 3 images are missing'):
        build(tiny(), tmp_path, check_images=True, data_prefix=dict(img='elsewhere'))
    write(tmp_path / 'sub/12.png', 'x')
    assert len(build(tiny(), tmp_path, check_images=True)) == 3


def test_no_image_is_left(tmp_path):
    with pytest.raises(ValueError, match=r"none of its 3 images is left by filter_cfg=\{'min_size': 500\}"):
        build(tiny(), tmp_path, filter_cfg=dict(min_size=500))


def test_boxes_that_are_left_out_are_counted(tmp_path, capsys):
    MMLogger.get_instance('lvis')  # the current logger
    bad = [annotation(20, 12, 2, (3, 3, 0, 5)), annotation(21, 12, 2, (3, 3, -4, 5)),
           annotation(22, 12, 5, (90, 3, 5, 5)), annotation(23, 12, 5, (3, 3, 5, 5), area=0)]
    content = tiny()
    content['annotations'] += bad
    dataset = build(content, tmp_path)
    logged = ''.join(capsys.readouterr())
    assert '4 boxes without area' in logged and 'annotation ids 20, 21, 22, 23.' in logged
    assert [instance['bbox_label'] for instance in dataset.get_data_info(1)['instances']] == [2]
    build(tiny(), tmp_path)
    assert 'boxes without' not in ''.join(capsys.readouterr())


def counted(dataset):
    """Images and instances of each class, one data info after the other."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    found = [[instance['bbox_label'] for instance in info['instances']] for info in infos]
    classes = range(len(dataset.metainfo['classes']))
    return (tuple(sum(label in labels for labels in found) for label in classes),
            tuple(sum(labels.count(label) for labels in found) for label in classes))


def test_counts_and_parts(tmp_path):
    content = lvis_v1_like('abcdefgh', 40)
    dataset = build(content, tmp_path, filter_cfg=dict(filter_empty_gt=True))
    counts = count_classes(dataset)
    assert (counts.images, counts.instances) == counted(dataset) and sum(counts.instances) > 50
    assert dataset.get_cat_ids(-1) == dataset.get_cat_ids(len(dataset) - 1)
    with pytest.raises(IndexError):
        dataset.get_cat_ids(len(dataset))
    picked = [5, 0, 9, 9]
    part = dataset.get_subset(picked)
    assert [part.get_cat_ids(i) for i in range(4)] == [dataset.get_cat_ids(i) for i in picked]
    first = build(content, tmp_path, filter_cfg=dict(filter_empty_gt=True), indices=6)
    assert count_classes(first).instances == counted(first)[1]
    dataset.get_subset_([3])
    assert dataset.get_cat_ids(0) == [instance['bbox_label'] for instance in dataset.get_data_info(0)['instances']]


def test_class_balanced_repetition_is_that_of_the_host_class(tmp_path):
    pytest.importorskip('lvis')
    from mmdet.datasets import LVISV1Dataset
    content = lvis_v1_like(LVISV1Dataset.METAINFO['classes'], 40)
    for entry in content['annotations']:
        entry['category_id'] = entry['id'] % 9 + 1
    ours = ClassBalancedDataset(build(content, tmp_path), 0.3)
    host = ClassBalancedDataset(build(None, tmp_path, type='LVISV1Dataset'), 0.3)
    assert ours.repeat_indices == host.repeat_indices and len(ours) > 40


def test_masks_that_the_pipeline_reads_must_be_there(tmp_path):
    init_default_scope('mmdet')
    content = tiny()
    content['annotations'][1]['segmentation'] = []
    pipeline = [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    with pytest.raises(ValueError, match=r'without `segmentation`: ids 2, and LoadAnnotations\(with_mask=True\)'):
        build(content, tmp_path, pipeline=pipeline)
    assert len(build(content, tmp_path, pipeline=[dict(type='LoadAnnotations', with_bbox=True)])) == 3


def test_shapes_run_through_the_pipeline(tmp_path):
    init_default_scope('mmdet')
    make_shapes_lvis(tmp_path / 'shapes', num_train=4, num_val=3, image_size=64)
    dataset = build(None, tmp_path / 'shapes', ann_file='annotations/train.json', check_images=True, pipeline=[
        dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path'))])
    sample = dataset[0]
    assert sample['inputs'].shape == (3, 64, 64)
    truth = sample['data_samples'].gt_instances
    boxes = truth.bboxes.tensor.numpy() if hasattr(truth.bboxes, 'tensor') else truth.bboxes.numpy()
    for box, mask in zip(boxes, truth.masks.masks, strict=True):
        rows, columns = np.nonzero(mask)
        assert np.abs(box - [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).max() <= 1.5


@pytest.mark.parametrize('serialize_data', [True, False])
def test_polygons_are_those_of_the_host_class(tmp_path, serialize_data):
    """Two decimals, thirds, integers, several parts and RLE, also after a subset; the data set keeps them small."""
    pytest.importorskip('lvis')
    from mmdet.datasets import LVISV1Dataset
    content = lvis_v1_like(LVISV1Dataset.METAINFO['classes'], 20)
    for index, entry in enumerate(content['annotations']):
        x, y = entry['bbox'][:2]
        entry['segmentation'] = [
            [[round(x + i * 0.37, 2) for i in range(200)]] * 2, [[x / 3, y, 5.0, 5.0, 7.5, 8.0]], [[1, 2, 3, 4, 5, 6]],
            dict(size=[300, 400], counts=[0, 120000])][index % 4]
    ours = build(content, tmp_path, serialize_data=serialize_data)
    host = build(None, tmp_path, type='LVISV1Dataset', serialize_data=serialize_data)
    theirs = {info['img_id']: info for info in (host.get_data_info(i) for i in range(len(host)))}
    repeated = build(None, tmp_path, indices=[2, 0, 2, 1], serialize_data=serialize_data)
    for dataset in (ours, ours.get_subset([3, 1, 4, 1]), repeated):
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            assert repr(info['instances']) == repr(theirs[info['img_id']]['instances'])
            assert set(info) == set(theirs[info['img_id']])
    assert {key: sorted(ids) for key, ids in ours.cat_img_map.items() if ids} == {
        key: sorted(ids) for key, ids in host.cat_img_map.items() if ids}
    if serialize_data:
        assert ours.data_bytes.nbytes < 0.6 * host.data_bytes.nbytes


def test_image_ids_that_are_no_integers(tmp_path):
    content = tiny()
    for entry in content['images']:
        entry['id'] = f'image {entry["id"]}'
    for entry in content['annotations']:
        entry['image_id'] = f'image {entry["image_id"]}'
    dataset = build(content, tmp_path, filter_cfg=dict(filter_empty_gt=True))
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == ['image 11', 'image 12']
    assert list(dataset.cat_img_map[7]) == ['image 11', 'image 12', 'image 11']


def test_the_file_is_parsed_once(tmp_path, monkeypatch):
    """By the data set with its checks, names, counts and repeat factors."""
    from nbn_mm.datasets import lvis_format
    reads, load = [], json.load
    monkeypatch.setattr(lvis_format.json, 'load', lambda *args, **kwargs: reads.append(1) or load(*args, **kwargs))
    dataset = build(tiny(), tmp_path, lazy_init=True, serialize_data=True)
    assert dataset.metainfo['classes'] and not reads
    dataset.full_init()
    assert count_classes(ClassBalancedDataset(dataset, 0.5)).instances and dataset.metainfo['frequencies']
    assert dataset.get_subset([0])[0]['img_id'] == 11 and len(reads) == 1


def test_what_stays_of_a_file_is_small(tmp_path):
    """One array of bytes and one of numbers a class: no objects among those that are freed, no parsed file."""
    import gc
    dataset = build(lvis_v1_like([f'class {i}' for i in range(5)], 200), tmp_path, serialize_data=True)
    gc.collect()
    assert not dataset.data_list and {type(ids).__name__ for ids in dataset.cat_img_map.values()} == {'array'}
    found, seen = [vars(dataset)], set()
    while found:
        value = found.pop()
        if id(value) not in seen and isinstance(value, (dict, list, tuple)):
            seen.add(id(value))
            assert len(value) <= 40, 'more entries than the data set has fields or the file classes'
            found += value.values() if isinstance(value, dict) else value
