"""Masks pasted within their boxes and encoded there, against mmdet's paste and pycocotools' encoding of all pixels."""
import pickle

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils

from nbn_mm.models.layers import box_masks
from nbn_mm.models.layers.box_masks import BoxMasks, regions_of, sample_each, sample_together
from nbn_mm.models.layers.run_lengths import Regions, encode_regions

SIZE = (37, 53)


def encoded(dense):
    return mask_utils.encode(np.asfortranarray(np.moveaxis(np.asarray(dense, np.uint8), 0, 2)))


def some(number=40, seed=0, size=SIZE, side=28):
    """Boxes of all sizes, some at the image's edges, some as large as it, some without extent."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    boxes = torch.rand(number, 4, generator=generator) * limit * 1.3 - 0.15 * limit
    boxes = torch.cat([torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    boxes[0] = torch.tensor([0., 0, width, height])
    boxes[1] = torch.tensor([5., 0, 20, height])
    boxes[2] = torch.tensor([3., 4, 3, 20])
    boxes[3] = torch.tensor([3.5, 4.5, 20, 4.5])
    boxes[4] = torch.tensor([7., 7, 7, 7])
    boxes = torch.minimum(boxes.clamp(min=0), limit)
    maps = torch.rand(number, 1, 4, 4, generator=generator)
    maps = torch.nn.functional.interpolate(maps, size=(side, side), mode='bilinear')
    maps[:2] = 1
    maps[5] = 0
    return maps, boxes


def host_paste(maps, boxes, size, threshold):
    """What mmdet's mask head does on a CPU, mask by mask."""
    paste = pytest.importorskip('mmdet.models.roi_heads.mask_heads.fcn_mask_head')._do_paste_mask
    dense = torch.zeros(len(maps), *size, dtype=torch.bool)
    for index in range(len(maps)):
        values, (rows, columns) = paste(maps[index:index + 1], boxes[index:index + 1], *size, skip_empty=True)
        dense[index, rows, columns] = values[0] >= threshold
    return dense.numpy()


@pytest.mark.parametrize('threshold', [0.5, 0.3, 1.0])
@pytest.mark.parametrize('size', [SIZE, (1, 1), (90, 7)])
@pytest.mark.parametrize('side', [28, 14])
def test_equals_the_host_byte_by_byte(size, threshold, side):
    maps, boxes = some(size=size, side=side)
    masks = BoxMasks(maps, boxes, size, threshold)
    dense = host_paste(maps, boxes, size, threshold)
    assert np.array_equal(masks.numpy(), dense)
    assert masks.rles() == encoded(dense)


def random_regions(generator, number, size):
    height, width = size
    x1, x2 = np.sort(generator.integers(0, width + 1, (2, number)), axis=0)
    y1, y2 = np.sort(generator.integers(0, height + 1, (2, number)), axis=0)
    x1[::4], x2[::4] = 0, width
    y1[::3], y2[::3] = 0, height  # a run may go on in the next column
    return Regions(x1, y1, x2 - x1, y2 - y1)


@pytest.mark.parametrize('size', [(5, 4), (1, 9), (9, 1), (30, 40)])
@pytest.mark.parametrize('share', [0., 0.1, 0.5, 0.9, 1.])
def test_encoding_of_random_pixels(size, share):
    generator = np.random.default_rng(0)
    regions = random_regions(generator, 30, size)
    dense, flat = np.zeros((30, *size), bool), []
    for index in range(30):
        y, x, height, width = (getattr(regions, name)[index] for name in ('y', 'x', 'height', 'width'))
        pixels = generator.random((height, width)) < share
        dense[index, y:y + height, x:x + width] = pixels
        flat.append(pixels.T.reshape(-1))
    assert encode_regions(torch.from_numpy(np.concatenate(flat)), regions, size) == encoded(dense)


def test_encoding_of_nothing():
    none = np.zeros(0, np.int64)
    assert encode_regions(torch.zeros(0, dtype=torch.bool), Regions(none, none, none, none), SIZE) == []
    one = np.zeros(1, np.int64)
    assert encode_regions(torch.zeros(0, dtype=torch.bool), Regions(one, one, one, one), SIZE) == \
        encoded(np.zeros((1, *SIZE)))


@pytest.mark.parametrize('at_once', [1, 2000, 2**20])
def test_many_at_once_are_the_same_pixels(at_once):
    """What a GPU does, tried here on the CPU."""
    masks = BoxMasks(*some(), SIZE, 0.5)
    regions = regions_of(masks)
    assert torch.equal(sample_together(masks, regions, at_once), sample_each(masks, regions))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_gpu_gives_the_same_rles():
    maps, boxes = some()
    ours = BoxMasks(maps.cuda(), boxes.cuda(), SIZE, 0.5).numpy()
    assert (ours != BoxMasks(maps, boxes, SIZE, 0.5).numpy()).mean() < 1e-4  # pixels within rounding of the threshold


def test_order_of_the_gpu_path(monkeypatch):
    """Masks are sorted by area for a GPU; the RLEs come in the order of the masks."""
    maps, boxes = some()
    masks = BoxMasks(maps, boxes, SIZE, 0.5)
    rles = masks.rles()

    class Gpu:
        type = 'not the CPU'

    def together(part, regions):
        assert (np.diff(regions.areas) >= 0).all() and len(part) == 40
        return sample_together(part, regions)

    monkeypatch.setattr(box_masks, 'sample_each', lambda *_: pytest.fail('the CPU path'))
    monkeypatch.setattr(box_masks, 'sample_together', together)
    monkeypatch.setattr(box_masks, 'device_of', lambda part: Gpu)
    assert masks.rles() == rles


def test_reads_like_an_array():
    maps, boxes = some()
    masks = BoxMasks(maps, boxes, SIZE, 0.5)
    dense = masks.numpy()
    assert masks.shape == dense.shape == (40, *SIZE) and len(masks) == 40 and dense.dtype == bool
    assert np.array_equal(np.asarray(masks), dense) and np.array_equal(np.stack(list(masks)), dense)
    for index in (3, -1, np.int64(3), np.array(3), torch.tensor(3)):
        assert np.array_equal(masks[index], dense[int(index)])
    assert masks.astype(np.uint8).sum() == dense.sum() and masks.astype(np.uint8).dtype == np.uint8
    assert np.array_equal(np.asarray(masks, dtype=np.float32), dense.astype(np.float32))
    for index in (slice(3, 9), torch.arange(40) % 3 == 0, np.arange(40) % 3 == 0, [4, 1], torch.tensor([4, 1])):
        assert np.array_equal(masks[index].numpy(), dense[np.asarray(index) if not isinstance(index, slice) else index])
    assert masks.rles([7, 2]) == [masks.rles()[7], masks.rles()[2]]
    assert masks.rles(np.array([], np.int64)) == [] and masks[:0].numpy().shape == (0, *SIZE)
    assert np.array_equal(BoxMasks.cat([masks[:3], masks[3:]]).numpy(), dense)
    assert np.array_equal(pickle.loads(pickle.dumps(masks)).cpu().detach().numpy(), dense)
    with pytest.raises(IndexError):
        masks[40]


def test_boxes_are_those_of_the_prediction():
    """The host rescales boxes in place; masks keep what they were given."""
    maps, boxes = some()
    masks = BoxMasks(maps, boxes, SIZE, 0.5)
    before = masks.rles()
    boxes /= 2
    assert masks.rles() == before


def test_boxes_that_are_not_finite():
    maps, boxes = some()
    boxes[7, 2] = float('nan')
    masks = BoxMasks(maps, boxes, SIZE, 0.5)
    assert len(masks.rles([6, 8])) == 2
    with pytest.raises(ValueError, match='box is not finite'):
        masks.rles()


def test_boxes_outside_of_the_image():
    maps = torch.ones(3, 1, 28, 28)
    boxes = torch.tensor([[-50., 2, -10, 9], [60, 2, 80, 9], [-5, -5, 4, 4]])
    dense = BoxMasks(maps, boxes, SIZE, 0.5).numpy()
    assert dense.sum((1, 2)).tolist() == [0, 0, 16]


@pytest.mark.parametrize('dtype, width', [(torch.bfloat16, 643), (torch.float16, 2051)])
def test_boxes_of_half_precision(dtype, width):
    """The image's width is no number of theirs: the next one lies outside of the image."""
    boxes = torch.tensor([[0., 0, width + 9, 10], [600, 2, 620, 9]], dtype=dtype)
    assert torch.tensor(width, dtype=dtype).item() > width
    masks = BoxMasks(torch.ones(2, 1, 28, 28, dtype=dtype), boxes, (10, width), 0.5)
    dense = np.zeros((2, 10, width), bool)
    dense[0], dense[1, 2:9, 600:620] = True, True
    assert np.array_equal(masks.numpy(), dense) and masks.rles() == encoded(dense)


def test_in_instance_data():
    """Indexing and concatenation as mmengine and mmdet's visualiser do them."""
    from mmengine.structures import InstanceData
    maps, boxes = some()
    data = InstanceData(scores=torch.linspace(1, 0, 40), bboxes=boxes, masks=BoxMasks(maps, boxes, SIZE, 0.5))
    dense = data.masks.numpy()
    assert np.array_equal(data[data.scores > 0.5].masks.numpy(), dense[:20])
    assert len(data[data.scores > 2].masks) == 0
    assert np.array_equal(InstanceData.cat([data[:5], data[5:]]).masks.numpy(), dense)
    assert np.array_equal(data.cpu().to('cpu').masks.numpy(), dense)
    assert np.array_equal(data[3].masks.numpy(), dense[3:4])
