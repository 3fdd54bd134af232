import mmcv
import numpy as np
import pytest
from lvis_files import annotation, tiny, write
from PIL import Image

from nbn_mm.datasets.lvis_check import check_file, check_lvis_v1


def picture(path, width=40, height=30):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for name in (11, 12, 13):
        picture(tmp_path / f'sub/{name}.png')
    return tmp_path


def check(content, folder, **kwargs):
    return check_file(write(folder / 'ann.json', content), folder, **kwargs)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_good_set(folder, workers):
    report = check(tiny(), folder, images=True, workers=workers)
    assert report.problems == []
    assert '3 images (2 with annotations), 4 annotations, 3 categories' in report.text
    assert '3 rare, 0 common, 0 frequent' in report.text


@pytest.mark.parametrize('workers', [0, 2])
def test_broken_images_are_named(folder, workers):
    damaged = folder / 'sub/11.png'
    damaged.write_bytes(damaged.read_bytes()[:len(damaged.read_bytes()) // 2])
    picture(folder / 'sub/12.png', 30, 40)
    (folder / 'sub/13.png').unlink()
    report = check(tiny(), folder, images=True, workers=workers)
    assert len(report.problems) == 3
    assert '1 of 3 images are missing' in report.text and 'sub/13.png' in report.text
    assert "sub/11.png can't be read" in report.text
    assert 'sub/12.png is 30 x 40, but annotated as 40 x 30' in report.text
    assert len(check(tiny(), folder).problems) == 1, 'images are opened only when asked'


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_a_turned_picture_has_the_size_that_it_is_read_with(folder, suffix):
    content = tiny()
    content['images'][1]['file_name'] = f'sub/turned.{suffix}'
    exif = Image.Exif()
    exif[274] = 6
    Image.new('RGB', (30, 40)).save(folder / f'sub/turned.{suffix}', exif=exif.tobytes())
    assert mmcv.imread(str(folder / f'sub/turned.{suffix}')).shape == (30, 40, 3)
    assert check(content, folder, images=True, workers=0).problems == []
    content['images'][1].update(width=30, height=40)
    assert 'is 40 x 30 when turned upright, as it is read (EXIF), but annotated as 30 x 40' in check(
        content, folder, images=True, workers=0).text


def changed(**kwargs):
    content = tiny()
    content['annotations'][1].update(kwargs)
    return content


def image_changed(**kwargs):
    content = tiny()
    content['images'][1].update(kwargs)
    return content


@pytest.mark.parametrize('content, match', [
    (changed(segmentation=[[1, 2, 3, 4]]), 'neither polygons .* ids 2$'),
    (changed(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), 'neither polygons .* ids 2$'),
    (changed(segmentation=[[1, 2, 3, 4, 5, float('nan')]]), 'neither polygons .* ids 2$'),
    (changed(segmentation=dict(size=[40, 30], counts='abc')), 'neither polygons .* ids 2$'),
    (changed(segmentation=[]), 'without `segmentation`: ids 2$'),
    (changed(id=0), 'annotation id 0, whose match .* counts as none'),
    (changed(iscrowd=1), 'crowd annotations.*ids 2$'),
    (changed(category_id=99), r'ids 2 \(category_id=99\)'),
    (changed(image_id=99), r'ids 2 \(image_id=99\)'),
    (image_changed(neg_category_ids=None), 'without the list `neg_category_ids`.*ids 12$'),
    (image_changed(not_exhaustive_category_ids=[99]), '`not_exhaustive_category_ids` has an id that .* ids 12$'),
    (image_changed(neg_category_ids=[7]), '`neg_category_ids` has a category that is annotated in them: ids 12$'),
    (tiny(categories=[dict(id=i, name=str(i)) for i in (7, 2, 5)]), 'no `frequency`.*coco_to_lvis.py adds it'),
    (tiny(annotations=[]), 'there are no annotations'),
    (tiny(annotations=None), 'there are no annotations'),
    ('{', 'is no JSON file'),
])
def test_problems(content, match, folder):
    report = check(content, folder)
    (problem, ) = report.problems
    assert 'ann.json' in problem
    with pytest.raises(ValueError, match=match):
        raise ValueError(problem)
    assert f'PROBLEM: {problem}' in report.text


def test_masks_of_the_right_form_are_no_problem(folder):
    for mask in (dict(size=[30, 40], counts='abc'), dict(size=[30, 40], counts=[100, 5, 1095])):
        assert check(changed(segmentation=mask), folder).problems == []
    content = tiny()
    for entry in content['annotations']:
        del entry['segmentation']
    assert check(content, folder).problems == [], 'a set of boxes'


def test_boxes_that_training_leaves_out_are_a_fact(folder):
    content = tiny()
    content['annotations'].append(annotation(31, 12, 2, (3, 3, 0, 5), segmentation=[[3, 3, 3, 8, 3, 4]]))
    report = check(content, folder)
    assert report.problems == [] and '1 boxes without area' in report.text and 'annotation ids 31' in report.text


def test_lvis_v1_says_what_goes_where(tmp_path):
    report = check_lvis_v1(tmp_path)
    assert len(report.problems) == 4
    for name in ('train2017.zip', 'val2017.zip', 'lvis_v1_train.json.zip', 'lvis_v1_val.json.zip',
                 'https://www.lvisdataset.org/dataset', str(tmp_path / 'annotations/lvis_v1_train.json')):
        assert name in report.text, name


def test_lvis_v1_with_too_few_images(tmp_path):
    for split in ('train', 'val'):
        content = tiny()
        for image in content['images']:
            name = f'{split}2017/{image["id"]}.jpg'
            image['coco_url'] = f'http://images.cocodataset.org/{name}'
            picture(tmp_path / name)
        write(tmp_path / f'annotations/lvis_v1_{split}.json', content)
    report = check_lvis_v1(tmp_path, images=True, workers=0)
    assert [problem.split('json has ')[1] for problem in report.problems] == [
        '3 images; LVIS v1 train has 100,170', '3 categories; LVIS v1 train has 1,203',
        '3 images; LVIS v1 val has 19,809', '3 categories; LVIS v1 val has 1,203']
