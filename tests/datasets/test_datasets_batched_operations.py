"""The batched operations against Pillow's, image by image and bit by bit."""
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from references import image_operations as reference

from nbn_mm.datasets.transforms import MAGNITUDES, OPERATIONS, SIGNED, apply_operation, magnitude_of
from nbn_mm.datasets.transforms.batched_operations import BatchedOperations, grey
from nbn_mm.datasets.transforms.operation_bank import KINDS, auto_contrast_tables, kind_of

FILL = (1, 128, 250)
SIZES = [(32, 32), (64, 64), (17, 24), (40, 9), (2, 5), (1, 1)]


def _images(height, width):
    random = np.random.default_rng(height * 1000 + width)
    noise = random.integers(0, 256, (height, width, 3))
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    waves = np.stack([np.sin(across / 40 + c) + np.cos(down / (30 + 9 * c)) for c in range(3)], -1)
    images = dict(
        noise=noise,
        smooth=np.stack([across, down, (across + down) / 2], -1),
        natural=np.clip(60 * waves + random.normal(110, 6, waves.shape), 0, 255),
        narrow=90 + noise % 40,
        extreme=noise % 2 * 255,
        sparse=np.where(noise < 250, 10, 200),
        one_channel=noise * (1, 0, 0),
        two_values=np.where(noise < 128, 100, 101),
        flat=np.full_like(noise, 77),
        black=np.zeros_like(noise),
        white=np.full_like(noise, 255))
    return {name: image.astype(np.uint8) for name, image in images.items()}


def _entries(operation):
    levels = range(10) if MAGNITUDES[operation] is not None else (0, )
    signs = (1, -1) if operation in SIGNED else (1, )
    return list(dict.fromkeys((operation, sign * magnitude_of(operation, level)) for level in levels for sign in signs))


def _apply(operations, images, chosen):
    """Images (N, H, W, 3) and the entry of each, through sorting and back."""
    order, rows, counts, after = operations.sort(np.asarray(chosen))
    batch = torch.from_numpy(np.stack(images)[order]).permute(0, 3, 1, 2).contiguous()
    out = operations.apply_(batch, torch.from_numpy(rows), counts)
    assert out is batch
    return out.permute(0, 2, 3, 1).numpy()[after]


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('operation', sorted(OPERATIONS))
def test_every_level_and_sign_equals_pillow(operation, size):
    entries, images = _entries(operation), _images(*size)
    chosen = np.arange(len(entries)).repeat(len(images))
    got = _apply(BatchedOperations(entries, FILL), list(images.values()) * len(entries), chosen)
    for (_, magnitude), results in zip(entries, np.split(got, len(entries)), strict=True):
        for (name, image), result in zip(images.items(), results, strict=True):
            want = apply_operation(image, operation, magnitude, FILL)
            assert np.array_equal(result, want), (name, magnitude, int((result != want).sum()))


@pytest.mark.parametrize('operation', sorted(OPERATIONS))
def test_operation_equals_its_definition(operation):
    """Without Pillow on either side of the comparison."""
    entries = [entry for entry in _entries(operation)[::7]]
    images = _images(17, 24)
    images = [images[name] for name in ('noise', 'natural', 'sparse')]
    got = _apply(BatchedOperations(entries, FILL), images * len(entries), np.arange(len(entries)).repeat(3))
    want = [getattr(reference, operation)(image, magnitude, FILL) for _, magnitude in entries for image in images]
    assert np.array_equal(got, np.stack(want))


def test_all_operations_in_one_batch_with_images_that_get_none():
    entries = [entry for operation in sorted(OPERATIONS) for entry in _entries(operation)]
    random, operations = np.random.default_rng(3), BatchedOperations(entries)
    images = [image for image in _images(32, 32).values() for _ in range(40)]
    chosen = random.integers(-60, len(entries), len(images)).clip(-1)
    assert {kind_of(entries[index][0]) for index in chosen[chosen >= 0]} == set(KINDS) and (chosen < 0).sum() > 50
    got = _apply(operations, images, chosen)
    for image, index, result in zip(images, chosen, got, strict=True):
        want = image if index < 0 else apply_operation(image, *entries[index])
        assert np.array_equal(result, want), entries[index]


@pytest.mark.parametrize('kinds', [
    [], ['equalize'], ['contrast'], ['color'], ['equalize', 'contrast'], ['auto_contrast', 'color'],
    ['nearest', 'equalize'], ['sharpness', 'shear']], ids=str)
def test_kinds_that_are_absent(kinds):
    """Slices of the batch may be empty in any combination."""
    entries = [entry for operation in sorted(OPERATIONS) for entry in _entries(operation)]
    possible = [index for index, entry in enumerate(entries) if kind_of(entry[0]) in kinds] or [-1]
    images = list(_images(32, 32).values())
    chosen = np.resize(possible[::5], len(images))
    for image, index, result in zip(images, chosen, _apply(BatchedOperations(entries), images, chosen), strict=True):
        assert np.array_equal(result, image if index < 0 else apply_operation(image, *entries[index]))


def test_sources_of_an_image_of_more_than_two_bytes_of_pixels():
    random = np.random.default_rng(0)
    image, entries = random.integers(0, 256, (300, 260, 3)).astype(np.uint8), [('rotate', 20.), ('translate_x', -0.3)]
    for entry, result in zip(entries, _apply(BatchedOperations(entries, FILL), [image] * 2, [0, 1]), strict=True):
        assert np.array_equal(result, apply_operation(image, *entry, FILL))


def test_grey_is_pillows():
    colours = np.random.default_rng(0).integers(0, 256, (1, 500, 500, 3)).astype(np.uint8)
    colours[0, 0, :8] = [(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)]
    want = np.array(Image.fromarray(colours[0]).convert('L'))
    assert np.array_equal(grey(torch.from_numpy(colours).permute(0, 3, 1, 2))[0].numpy(), want)


def test_auto_contrast_tables_are_pillows():
    tables, random = auto_contrast_tables(), np.random.default_rng(0)
    pairs = np.sort(random.integers(0, 256, (400, 2)), 1).tolist() + [[0, 255], [0, 0], [255, 255], [0, 1], [254, 255]]
    for low, high in pairs:
        ramp = np.arange(low, high + 1, dtype=np.uint8)[None]
        want = np.array(ImageOps.autocontrast(Image.fromarray(ramp)))[0]
        assert np.array_equal(tables[256 * low + high, low:high + 1], want), (low, high)


def test_unknown_operation():
    with pytest.raises(ValueError, match="operation 'blur' is unknown"):
        BatchedOperations([('blur', 1.)])
