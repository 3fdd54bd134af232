"""The copy of a data set with smaller pictures: pixels, resumption, and what it refuses."""
import json
import os

import cv2
import numpy as np
import pytest
from photographs import photograph, write
from PIL import Image

from nbn_mm.datasets import resize_images as module
from nbn_mm.datasets.resize_images import MARKER, resize_images


@pytest.fixture
def source(tmp_path):
    root = tmp_path / 'set'
    for name in ('a', 'b/c'):
        (root / 'train' / name).mkdir(parents=True)
    write(root / 'train/a/wide.JPEG', 90, 130)
    write(root / 'train/a/small.jpg', 30, 40, seed=1)
    write(root / 'train/b/c/turned.jpg', 90, 130, orientation=6, seed=2)
    write(root / 'train/b/c/grey.jpg', 130, 90, mode='L', seed=3)
    write(root / 'train/b/c/print.jpg', 90, 90, mode='CMYK', seed=4)
    write(root / 'train/b/c/flat.png', 90, 130, format='PNG', seed=5)
    (root / 'list.txt').write_text('train/a/wide.JPEG 0\n')
    (root / 'inat.json').write_text('{"annotations": [{"image_id": 1, "category_id": 2}]}')
    return root


def files(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def test_pictures_names_and_lists(source, tmp_path):
    before = files(source)
    report = resize_images(source, tmp_path / 'small', short_side=48, quality=92, workers=0)
    after = files(tmp_path / 'small')
    assert files(source) == before and set(after) - {MARKER} == set(before)
    for name in ('list.txt', 'inat.json', 'train/a/small.jpg'):
        assert after[name] == before[name]
    shapes = {'wide.JPEG': (48, 69), 'turned.jpg': (69, 48), 'grey.jpg': (69, 48), 'print.jpg': (48, 48),
              'flat.png': (48, 69)}
    for name, content in after.items():
        if (short := name.split('/')[-1]) in shapes:
            full = cv2.imdecode(np.frombuffer(before[name], np.uint8), cv2.IMREAD_COLOR)  # what the hosts read
            small = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            assert small.shape[:2] == shapes[short]
            expected = cv2.resize(full, small.shape[1::-1], interpolation=cv2.INTER_AREA)
            if short == 'flat.png':
                assert np.array_equal(small, expected)
            else:
                coded = cv2.imencode('.jpg', expected, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
                assert content == coded.tobytes()
    assert (report.resized, report.copied, report.present, report.others, report.corrupt) == (5, 1, 0, 2, [])
    pictures = [name for name in before if name.startswith('train')]
    assert report.before == sum(len(before[name]) for name in pictures)
    assert report.after == sum(len(after[name]) for name in pictures)
    assert 'not the pictures of the source' in report.text and f'{report.after:,} after' in report.text


def test_processes_give_the_same_files(source, tmp_path):
    alone = resize_images(source, tmp_path / 'one', 48, workers=0)
    assert resize_images(source, tmp_path / 'two', 48, workers=2) == alone
    assert files(tmp_path / 'one') == files(tmp_path / 'two')


def test_a_killed_call_goes_on(source, tmp_path, monkeypatch):
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    resize_images(source, whole, 48, workers=0)
    replace, count = os.replace, []

    def killed(start, end):
        count.append(end)
        if len(count) == 6:  # marker, two lists, two pictures; in the third it ends before the renaming
            raise KeyboardInterrupt
        replace(start, end)

    monkeypatch.setattr(module.os, 'replace', killed)
    with pytest.raises(KeyboardInterrupt):
        resize_images(source, cut, 48, workers=0)
    monkeypatch.undo()
    assert [path for path in cut.rglob('*') if path.name.endswith('.partial')]
    report = resize_images(source, cut, 48, workers=0)
    assert (report.present, report.resized + report.copied) == (2, 4)
    assert files(cut) == files(whole)
    assert resize_images(source, cut, 48, workers=0).present == 6


def test_corrupt_pictures_are_named(source, tmp_path):
    content = (source / 'train/a/wide.JPEG').read_bytes()
    (source / 'train/a/cut.jpg').write_bytes(content[:len(content) // 2])
    (source / 'train/a/empty.jpg').write_bytes(b'')
    (source / 'train/a/text.png').write_text('no picture')
    report = resize_images(source, tmp_path / 'small', 48, workers=0)
    assert [line.split(' ')[0] for line in report.corrupt] == [
        f'train/a/{name}' for name in ('cut.jpg', 'empty.jpg', 'text.png')]
    assert 'truncated' in report.corrupt[0] and report.resized == 5
    assert all(f'cannot be decoded, not in the copy: {line}' in report.text for line in report.corrupt)
    assert not (tmp_path / 'small/train/a/cut.jpg').exists()


def test_refusals(source, tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'mine.txt').write_text('mine')
    for target in (source, source / 'small', tmp_path, source / '..' / 'set'):
        with pytest.raises(ValueError, match='outside of the data set'):
            resize_images(source, target, 48)
    with pytest.raises(ValueError, match="other' exists, and it was not made by resize_images"):
        resize_images(source, other, 48)
    assert files(other) == {'mine.txt': b'mine'}
    for name, value in (('short_side', 0), ('short_side', 2.5), ('quality', 101), ('workers', -1), ('quality', True)):
        with pytest.raises(ValueError, match=f'{name}={value!r} must be an integer'):
            resize_images(source, tmp_path / 'new', **{name: value})
    with pytest.raises(ValueError, match="none' is no folder"):
        resize_images(tmp_path / 'none', tmp_path / 'new')
    with pytest.raises(ValueError, match='has no picture'):
        resize_images(other, tmp_path / 'new')
    resize_images(source, tmp_path / 'done', 48, workers=0)
    with pytest.raises(ValueError, match="'short_side': 48.*'short_side': 64.*Choose another folder"):
        resize_images(source, tmp_path / 'done', 64)
    assert not (tmp_path / 'new').exists()


def test_folders_that_are_links(source, tmp_path):
    (source / 'train').rename(tmp_path / 'elsewhere')
    (source / 'train').symlink_to(tmp_path / 'elsewhere')
    resize_images(source, tmp_path / 'small', 48, workers=0)
    assert {name for name in files(tmp_path / 'small') if name.startswith('train/')} == {
        f'train/{name}' for name in files(tmp_path / 'elsewhere')}
    with pytest.raises(ValueError, match="train', a link of the data set"):
        resize_images(source, tmp_path / 'elsewhere' / 'new', 48)
    (tmp_path / 'elsewhere' / 'again').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(ValueError, match="again' is a link to a folder that holds it"):
        resize_images(source, tmp_path / 'new', 48)
    (tmp_path / 'elsewhere' / 'again').unlink()
    for name, other in (('a', 'b'), ('b', 'a')):
        (tmp_path / 'elsewhere' / name / 'loop').symlink_to(tmp_path / 'elsewhere' / other)
    with pytest.raises(ValueError, match="loop' is a link to a folder that holds it"):
        resize_images(source, tmp_path / 'new', 48)


@pytest.mark.parametrize('key', ['bbox', 'segmentation'])
def test_boxes_and_masks_are_refused(source, tmp_path, monkeypatch, key):
    monkeypatch.setattr(module, 'BLOCK', 32)  # the key lies across two blocks in one of these
    for space in range(32):
        (source / 'ann.json').write_text(' ' * space + json.dumps(dict(annotations=[{key: [1, 2, 3, 4]}])))
        with pytest.raises(ValueError, match=r'ann\.json.* has boxes or masks'):
            resize_images(source, tmp_path / 'small', 48)


def test_the_size_never_falls_below(tmp_path):
    (tmp_path / 'set').mkdir()
    Image.fromarray(photograph(49, 400)).save(tmp_path / 'set/long.jpg')
    resize_images(tmp_path / 'set', tmp_path / 'small', 48, workers=0)
    assert Image.open(tmp_path / 'small/long.jpg').size == (392, 48)
