"""Which pictures tools/infer.py takes; its predictions are tested with the tools."""
import numpy as np
import pytest
from PIL import Image

from nbn_mm.engine.inference import find_pictures
from nbn_mm.engine.launch import LaunchError


@pytest.fixture
def folder(tmp_path):
    for name in ('b.png', 'a.JPG', 'notes.txt'):
        if name.startswith('n'):
            (tmp_path / name).write_text('no picture')
        else:
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name)
    return tmp_path


def test_pictures_in_the_order_of_their_names(folder):
    assert find_pictures(folder) == [str(folder / 'a.JPG'), str(folder / 'b.png')]
    assert find_pictures(folder / 'b.png') == [str(folder / 'b.png')]


@pytest.mark.parametrize('source, words', [('nowhere', 'do not exist'), ('empty', 'holds no picture'),
                                           ('notes.txt', '1 of 1 pictures cannot be read')])
def test_nothing_to_predict(folder, source, words):
    (folder / 'empty').mkdir()
    with pytest.raises(LaunchError, match=words):
        find_pictures(folder / source)


def test_broken_pictures_are_named_before_anything_is_built(folder):
    (folder / 'c.jpg').write_bytes(b'not a picture')
    with pytest.raises(LaunchError, match=r'1 of 3 pictures cannot be read: .*c\.jpg'):
        find_pictures(folder)
