"""TableColorJitter against the host's ColorJitter, bit by bit."""
import warnings

import numpy as np
import pytest

pytest.importorskip('mmpretrain', reason='compares with mmpretrain')
from mmpretrain.registry import TRANSFORMS  # noqa: E402

import nbn_mm  # noqa: E402, F401, the import registers


def jitter(kind, image, seed, **options):
    np.random.seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        result = TRANSFORMS.build(dict(type=kind, **options))(dict(img=image.copy()))['img']
    return result, np.random.rand()


@pytest.mark.parametrize('options', [
    dict(brightness=0.4, contrast=0.4, saturation=0.4), dict(brightness=3.0, contrast=5.0, saturation=8.0),
    dict(brightness=0.4), dict(contrast=[0.0, 0.1]), dict(saturation=[0.0, 0.1]), dict(contrast=[1.0, 2.0]), dict()])
def test_pixels_and_draws_are_the_hosts(options):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in [(1, 1), (7, 5), (32, 48)]]
    images += [np.full((4, 6, 3), value, np.uint8) for value in (0, 1, 127, 255)]
    for image in images:
        for seed in range(12):
            before = image.copy()
            expected, next_draw = jitter('ColorJitter', image, seed, **options)
            found, our_draw = jitter('TableColorJitter', image, seed, **options)
            assert np.array_equal(expected, found) and found.dtype == np.uint8 and next_draw == our_draw
            assert np.array_equal(image, before)


def test_a_part_of_a_picture():
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for view in (image[3:11, 4:20], image[:, ::-1], image[..., ::-1]):
        options = dict(brightness=0.4, contrast=0.4, saturation=0.4)
        expected, found = (jitter(kind, view, 3, **options)[0] for kind in ('ColorJitter', 'TableColorJitter'))
        assert np.array_equal(expected, found)


def test_what_is_not_offered():
    for options, said in ((dict(hue=0.1), 'hue='), (dict(brightness=0.2, backend='cv2'), "backend='cv2'")):
        with pytest.raises(ValueError, match=said) as error:
            TRANSFORMS.build(dict(type='TableColorJitter', **options))
        assert "Use type='ColorJitter'" in str(error.value)
    with pytest.raises(TypeError, match='TableColorJitter needs'):
        TRANSFORMS.build(dict(type='TableColorJitter', brightness=0.1))(dict(img=np.zeros((4, 4), np.uint8)))
    with pytest.raises(TypeError, match='float32'):
        TRANSFORMS.build(dict(type='TableColorJitter', brightness=0.1))(dict(img=np.zeros((4, 4, 3), np.float32)))
