import copy
import json
import pickle
from array import array

import numpy as np
import pytest

from nbn_mm.datasets.packed_polygons import hundredths, pack_polygons, pack_while_reading, unpack_polygons

RLE = dict(size=[4, 4], counts=[0, 16])
SEGMENTATIONS = [
    [[0.5, 1.25, 639.99, 0.01, 7.0, 480.0]],
    [[1.5, 2, 3, 4.25, 5, 6], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]],  # integers after the first number, two parts
    [[1, 2, 3, 4, 5, 6]],  # integers stay integers
    [[1, 2, 3, 4, 5, 6], [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]],
    RLE,
    [],
    None,
    [[]],
    [[0.5, 'x']],
]


def image(segmentations):
    """An image as it lies in a file, and as the data set keeps it."""
    annotations = json.loads(json.dumps([dict(segmentation=s) for s in segmentations]), object_hook=pack_while_reading)
    instances = [dict(bbox=[0, 0, 1, 1], **(dict(mask=a['segmentation']) if a['segmentation'] else {}))
                 for a in annotations]
    return dict(img_id=1, instances=instances)


def expected(segmentations):
    return dict(img_id=1, instances=[dict(bbox=[0, 0, 1, 1], **(dict(mask=s) if s else {})) for s in segmentations])


@pytest.mark.parametrize('third', [None, 1 / 3, -12.5, 1e6 + 0.01, 1e12, float('inf')])
def test_the_same_numbers_again(third):
    """Two decimals, others, negative and large ones; types too, since integers make an array of integers."""
    segmentations = SEGMENTATIONS if third is None else [*SEGMENTATIONS, [[third, 0.25, 1.0, 1.0, 2.0, 2.0]]]
    info = image(segmentations)
    pack_polygons(info)
    pack_polygons(info)  # nothing more happens
    info = pickle.loads(pickle.dumps(info))
    unpack_polygons(info)
    assert info == expected(segmentations)
    masks = [instance.get('mask') for instance in info['instances']]
    assert [[type(number) for number in masks[i][0]] for i in (0, 2)] == [[float] * 6, [int] * 6]
    assert [type(part) for part in masks[1]] == [list, list]


def test_two_bytes_a_coordinate():
    rng = np.random.default_rng(0)
    polygons = [[np.round(rng.uniform(0, 640, 100), 2).tolist()] for _ in range(10)]
    info, plain = image(polygons), expected(polygons)
    pack_polygons(info)
    assert info['polygons'][0] == np.dtype('uint16').str and len(info['polygons'][1]) == 2 * 1000
    assert len(pickle.dumps(info)) < len(pickle.dumps(plain)) / 3


def test_without_polygons_nothing_changes():
    for info in (dict(instances=[]), dict(instances=[dict(bbox=[0, 0, 1, 1]), dict(mask=RLE)])):
        before = copy.deepcopy(info)
        pack_polygons(info)
        assert info == before
        unpack_polygons(info)
        assert info == before


def test_the_hook_leaves_other_objects_alone():
    for entry in (dict(id=1, name='a'), dict(segmentation=RLE), dict(segmentation=[[1, 2]]), dict(segmentation=[3.5])):
        assert pack_while_reading(copy.deepcopy(entry)) == entry
    assert pack_while_reading(dict(segmentation=[[0.5, 1]])) == dict(segmentation=(array('d', [0.5, 1.0]), ))


@pytest.mark.parametrize('values, dtype', [
    ([0.0, 2.55], 'uint8'), ([655.35], 'uint16'), ([655.36], 'int32'), ([-0.01, 3.0], 'int16'), ([1 / 3], 'float64'),
    ([float('nan')], 'float64'), ([-1e300, 0.5], 'float64'), ([2e7, 2.2e7], 'float64'), ([-300.0, 327.67], 'int16'),
    ([], 'float64')])
def test_hundredths(values, dtype):
    result = hundredths(np.array(values))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result / (1 if dtype == 'float64' else 100), np.array(values))
