from collections import Counter

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageEnhance, ImageOps
from references import image_operations as reference

import nbn_mm  # noqa: F401, the import registers
from nbn_mm.datasets.transforms import (
    CIFAR10_POLICY,
    MAGNITUDES,
    OPERATIONS,
    SIGNED,
    CIFARAutoAugment,
    CIFARCutout,
    apply_operation,
    magnitude_of,
)

GREY = (128, 128, 128)


def _images():
    random = np.random.RandomState(0)
    ramp = np.linspace(0, 255, 32)
    across, down = np.meshgrid(ramp, ramp)
    smooth = np.stack([across, down, (across + down) / 2], -1)
    narrow = random.randint(90, 130, (32, 32, 3))
    return dict(
        noise=random.randint(0, 256, (32, 32, 3)).astype(np.uint8),
        smooth=smooth.astype(np.uint8),
        narrow=narrow.astype(np.uint8),
        flat=np.full((32, 32, 3), 77, np.uint8),
        oblong=random.randint(0, 256, (17, 24, 3)).astype(np.uint8))


IMAGES = _images()


@pytest.mark.parametrize('operation', sorted(MAGNITUDES))
def test_operation_equals_its_definition(operation):
    """Every level and sign, on the noise; three magnitudes on all other images. Bit by bit."""
    signs = (1, -1) if operation in SIGNED else (1, )
    levels = (0, 4, 9) if MAGNITUDES[operation] is not None else (0, )
    for name, image in IMAGES.items():
        before = image.copy()
        for level in levels if name != 'noise' or MAGNITUDES[operation] is None else (1, 5, 7):
            for sign in signs:
                magnitude = sign * magnitude_of(operation, level)
                got = apply_operation(image, operation, magnitude)
                want = getattr(reference, operation)(image, magnitude, GREY)
                assert got.dtype == np.uint8 and got.shape == image.shape and (image == before).all()
                assert (got == want).all(), (name, level, sign, int((got != want).sum()))


def _pillow(image, operation, magnitude):
    """What the CIFAR recipes call, rotation through a transparent layer included."""
    image = Image.fromarray(image)
    affine = dict(
        shear_x=((1, magnitude, 0, 0, 1, 0), Image.BICUBIC),
        shear_y=((1, 0, 0, magnitude, 1, 0), Image.BICUBIC),
        translate_x=((1, 0, magnitude * image.size[0], 0, 1, 0), Image.NEAREST),
        translate_y=((1, 0, 0, 0, 1, magnitude * image.size[1]), Image.NEAREST))
    enhance = dict(
        color=ImageEnhance.Color,
        contrast=ImageEnhance.Contrast,
        sharpness=ImageEnhance.Sharpness,
        brightness=ImageEnhance.Brightness)
    if operation in affine:
        matrix, resample = affine[operation]
        return image.transform(image.size, Image.AFFINE, matrix, resample, fillcolor=GREY)
    if operation in enhance:
        return enhance[operation](image).enhance(1 + magnitude)
    if operation == 'rotate':
        layer = image.convert('RGBA').rotate(magnitude)
        return Image.composite(layer, Image.new('RGBA', layer.size, (128, ) * 4), layer).convert('RGB')
    if operation == 'posterize':
        return ImageOps.posterize(image, int(np.round(magnitude)))
    if operation == 'solarize':
        return ImageOps.solarize(image, magnitude)
    plain = dict(auto_contrast=ImageOps.autocontrast, equalize=ImageOps.equalize, invert=ImageOps.invert)
    return plain[operation](image)


@pytest.mark.parametrize('operation', sorted(OPERATIONS))
def test_operation_equals_pillow(operation):
    for image in IMAGES.values():
        for level in range(10):
            for sign in (1, -1) if operation in SIGNED else (1, ):
                magnitude = sign * magnitude_of(operation, level)
                got = apply_operation(image, operation, magnitude)
                assert (got == np.array(_pillow(image, operation, magnitude))).all()


def test_policy_is_the_published_one():
    """Against torchvision's table, which another hand typed."""
    transforms = pytest.importorskip('torchvision.transforms', reason='needs torchvision')
    published = transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10).policies
    assert len(CIFAR10_POLICY) == len(published) == 25
    for ours, theirs in zip(CIFAR10_POLICY, published, strict=True):
        for (name, probability, level), (their_name, their_probability, their_level) in zip(ours, theirs, strict=True):
            assert (name.replace('_', ''), probability) == (their_name.lower(), their_probability)
            assert their_level is None or level == their_level


def test_magnitudes_are_the_published_ones():
    linspace = dict(shear_x=(0, .3), translate_y=(0, 150 / 331), rotate=(0, 30), color=(0, .9), solarize=(256, 0))
    for operation, ends in linspace.items():
        assert [magnitude_of(operation, level) for level in range(10)] == pytest.approx(np.linspace(*ends, 10))
    bits = [round(magnitude_of('posterize', level)) for level in range(10)]
    assert bits == np.round(np.linspace(8, 4, 10)).astype(int).tolist() == [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]
    assert set(MAGNITUDES) == set(OPERATIONS) >= {step[0] for pair in CIFAR10_POLICY for step in pair}


def test_draws_follow_the_policy():
    """20,000 draws: each operation at its expected rate, signs even, rotation never negative."""
    np.random.seed(0)
    transform, draws = CIFARAutoAugment(), 20000
    possible = {(name, magnitude_of(name, level)) for pair in CIFAR10_POLICY for name, _, level in pair}
    seen = Counter()
    positive = Counter()
    for _ in range(draws):
        for operation, magnitude in transform.draw():
            seen[operation] += 1
            positive[operation] += magnitude > 0
            assert (operation, abs(magnitude)) in possible
    for operation in OPERATIONS:
        rate = sum(p for pair in CIFAR10_POLICY for name, p, _ in pair if name == operation) / 25
        steps = [p for pair in CIFAR10_POLICY for name, p, _ in pair if name == operation]
        assert abs(seen[operation] - draws * rate) < 5 * max((draws * len(steps) / 25)**0.5, 1)
    assert positive['rotate'] == seen['rotate'] > 0
    for operation in ('translate_x', 'translate_y', 'shear_y', 'sharpness', 'brightness', 'contrast'):
        assert abs(positive[operation] - seen[operation] / 2) < 3 * seen[operation]**0.5
    assert seen['shear_x'] == 0


def test_auto_augment_applies_what_it_draws_and_follows_the_seed():
    transform = TRANSFORMS.build(dict(type='CIFARAutoAugment'))
    for seed in range(40):
        image = IMAGES['noise'].copy()
        np.random.seed(seed)
        want = image
        for operation, magnitude in transform.draw():
            want = np.array(_pillow(want, operation, magnitude))
        np.random.seed(seed)
        got = transform(dict(img=image))['img']
        assert (got == want).all() and (image == IMAGES['noise']).all()


def test_fill_is_used():
    assert (apply_operation(IMAGES['noise'], 'translate_x', 0.5, (1, 2, 3))[:, -1] == (1, 2, 3)).all()
    assert repr(CIFARAutoAugment([1, 2, 3])) == 'CIFARAutoAugment(fill=(1, 2, 3))'


@pytest.mark.parametrize('size', [1, 5, 16, 100])
@pytest.mark.parametrize('name', ['smooth', 'oblong'])
def test_cutout_cuts_the_clipped_square(size, name):
    transform = TRANSFORMS.build(dict(type='CIFARCutout', size=size))
    for seed in range(30):
        image = IMAGES[name] // 2 + 100
        height, width = image.shape[:2]
        np.random.seed(seed)
        row, column = np.random.randint(height), np.random.randint(width)
        want = image.copy()
        for y in range(height):
            for x in range(width):
                if 0 <= y - row + size // 2 < size and 0 <= x - column + size // 2 < size:
                    want[y, x] = 0
        np.random.seed(seed)
        original = image.copy()
        got = transform(dict(img=image))['img']
        assert (got == want).all() and (image == original).all()


def test_cutout_centre_is_uniform():
    np.random.seed(1)
    transform = CIFARCutout(1)
    hits = np.zeros((8, 8))
    for _ in range(6400):
        hits += transform(dict(img=np.full((8, 8, 3), 9, np.uint8)))['img'][..., 0] == 0
    assert hits.sum() == 6400
    assert ((hits - 100)**2 / 100).sum() < 103.4  # chi-square, 63 degrees of freedom, p = 0.001


@pytest.mark.parametrize('transform', [CIFARAutoAugment(), CIFARCutout()])
@pytest.mark.parametrize('image, kind', [
    (np.zeros((32, 32, 3), np.float32), r'float32 of shape \(32, 32, 3\)'),
    (np.zeros((32, 32), np.uint8), r'uint8 of shape \(32, 32\)'),
    (np.zeros((3, 32, 32), np.uint8), r'uint8 of shape \(3, 32, 32\)'),
    (None, 'NoneType'),
])
def test_wrong_images(transform, image, kind):
    with pytest.raises(TypeError, match=f'{type(transform).__name__} needs .*got {kind}'):
        transform(dict(img=image))


@pytest.mark.parametrize('call, match', [
    (lambda: CIFARCutout(0), 'size=0'),
    (lambda: CIFARCutout(True), 'size=True'),
    (lambda: CIFARCutout(1.5), 'size=1.5'),
    (lambda: CIFARAutoAugment((128, )), r'fill=\(128,\)'),
    (lambda: CIFARAutoAugment((0, 0, 256)), 'fill='),
    (lambda: magnitude_of('blur', 1), "operation 'blur' is unknown"),
    (lambda: magnitude_of('rotate', 10), "level 10 of operation 'rotate'"),
    (lambda: apply_operation(IMAGES['noise'], 'blur', 1), "operation 'blur' is unknown"),
])
def test_bad_arguments(call, match):
    with pytest.raises(ValueError, match=match):
        call()
