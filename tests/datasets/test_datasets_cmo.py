"""CMO: which foregrounds are drawn, what is pasted, which labels come out; image by image and on the device."""
import copy

import numpy as np
import pytest
import torch
from references.cmo import class_shares, pasted, soft_label
from torch.utils.data import DataLoader

from nbn_mm.datasets import CMO, class_probabilities, count_classes
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')
if host_error('mmpretrain') is None:
    from mmpretrain.datasets import BaseDataset
    from mmpretrain.registry import DATASETS

    from nbn_mm.datasets.cmo_dataset import CMODataset
    from nbn_mm.datasets.device_dataset import DeviceDataset
    from nbn_mm.datasets.samplers import ClassBalancedSampler

    @DATASETS.register_module(force=True)
    class PlainColours(BaseDataset):
        """Image i is of the colour (label, i, 200 + label), 6 x 10 pixels."""
        COUNTS = (30, 12, 4, 1)
        METAINFO = dict(classes=tuple('abcd'))

        def __init__(self, pack=True, pipeline=(), sizes=((6, 10), ), **kwargs):
            self.sizes = sizes
            super().__init__('', pipeline=[*pipeline, *([dict(type='PackInputs')] if pack else [])], **kwargs)

        def load_data_list(self):
            labels = np.repeat(np.arange(4), self.COUNTS)
            size = lambda i: self.sizes[i % len(self.sizes)]  # noqa: E731
            return [dict(img=np.broadcast_to(np.uint8([label, i, 200 + label]), (*size(i), 3)).copy(),
                         gt_label=int(label)) for i, label in enumerate(labels)]


COUNTS = (30, 12, 4, 1)
LABELS = np.repeat(np.arange(4), COUNTS)


def mixer(**options):
    cmo = CMO(**options)
    cmo.set_labels(LABELS, 4)
    return cmo


@pytest.mark.parametrize('power', [0, 1, 1.5, 2])
def test_foreground_classes_come_as_the_power_says(power):
    """0: the original frequencies; 1: equally often; 2: in proportion to 1/n. Images of a class: equally often."""
    drawn = mixer(power=power).foregrounds(np.random.default_rng(0), 40000)
    shares = np.bincount(LABELS[drawn], minlength=4) / len(drawn)
    expected = class_shares(COUNTS, power)
    np.testing.assert_allclose(class_probabilities(COUNTS, power), expected, rtol=1e-12)
    np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / np.sqrt(len(drawn)))
    if power == 2:
        inverse = 1 / np.array(COUNTS)
        np.testing.assert_allclose(shares / shares.sum(), inverse / inverse.sum(), atol=.01)
    within = np.bincount(drawn, minlength=47)[:30] / (drawn < 30).sum()
    assert abs(within - 1 / 30).max() < 0.02


def test_a_class_without_images_is_never_a_foreground():
    cmo = CMO()
    cmo.set_labels(np.array([0, 0, 3]), 5)
    assert set(cmo.foregrounds(np.random.default_rng(0), 1000).tolist()) == {0, 1, 2}
    assert class_probabilities([2, 0, 0, 1, 0]).tolist() == [0.5, 0, 0, 0.5, 0]


def test_coin_and_rectangles():
    """Half of the batches are mixed; with Beta(1, 1) all sizes occur; the share is that of the pixels, exactly."""
    random = np.random.default_rng(0)
    cmo = mixer()
    pastes = [cmo.draw(random, 3, 6, 10) for _ in range(2000)]
    mixed = [p for p in pastes if p is not None]
    assert 0.46 < len(mixed) / len(pastes) < 0.54
    for paste in mixed:
        area = (paste.bottom - paste.top) * (paste.right - paste.left)
        assert 0 <= paste.top <= paste.bottom <= 6 and 0 <= paste.left <= paste.right <= 10
        assert paste.share == 1 - area / 60 and len(paste.foreground) == 3
    shares = np.array([p.share for p in mixed])
    assert shares.min() < 0.5 and shares.max() == 1 and shares.std() > 0.15
    assert min(p.top for p in mixed) == 0 and max(p.bottom for p in mixed) == 6
    assert all(CMO.draw(mixer(prob=1), random, 1, 6, 10) for _ in range(50))


def check_batch(inputs, samples, found):
    """A batch against loops over pixels; colours tell the images, and rectangles are found from them."""
    rectangles = set()
    for image, sample in zip(inputs, samples, strict=True):
        label = int(sample.gt_label)
        if 'gt_score' not in sample:
            assert (image[0] == label).all()
            return found.append(False)
        mine = set(np.unique(image[1]).tolist())
        own = (image[1] == sample.index).numpy()
        others = mine - {sample.index}
        foreground = others.pop() if others else sample.index
        assert not others
        rows, columns = np.nonzero(~own)
        box = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) if len(rows) else (0, 0, 0, 0)
        colour = lambda i: np.broadcast_to(  # noqa: E731
            np.array([LABELS[i], i, 200 + LABELS[i]])[:, None, None], (3, 6, 10)).tolist()
        expected, share = pasted(colour(sample.index), colour(foreground), *box)
        assert image.tolist() == expected
        if foreground != sample.index:  # one on itself shows no rectangle
            np.testing.assert_allclose(sample.gt_score, soft_label(label, LABELS[foreground], share, 4), atol=1e-7)
            rectangles.add(box)
        assert sample.gt_score.sum() == pytest.approx(1)
    assert len(rectangles) <= 1
    return found.append(True)


def batches(dataset, seed, order):
    np.random.seed(seed)
    loader = DataLoader(dataset, batch_size=8, sampler=order, collate_fn=list)
    for batch in loader:
        yield [item['inputs'] for item in batch], [item['data_samples'] for item in batch]


def test_image_by_image_pastes_and_labels():
    dataset = CMODataset(dict(type='PlainColours'))
    dataset.full_init()
    order, found = list(range(47)) * 4, []
    number = iter(order)
    for inputs, samples in batches(dataset, 1, order):
        for sample in samples:
            sample.set_field(next(number), 'index', field_type='metainfo')
        check_batch(inputs, samples, found)
    assert 4 < sum(found) < len(found) - 4
    dataset.set_mixing(False)
    assert all('gt_score' not in sample for _, samples in batches(dataset, 1, order) for sample in samples)


def device_dataset(**options):
    made = DeviceDataset(dict(type='PlainColours', pack=False), device='cpu', **options)
    made.load()
    made.start(0, 0)
    return made


def test_on_the_device_pastes_and_labels():
    dataset, found = device_dataset(cmo=dict(prob=0.5)), []
    for number in range(30):
        indices = [(8 * number + i) % 47 for i in range(8)]
        batch = dataset.__getitems__(indices)
        samples = list(batch['data_samples'])
        for sample, index in zip(samples, indices, strict=True):
            sample.set_field(index, 'index', field_type='metainfo')
        check_batch(batch['inputs'], samples, found)
    assert 7 < sum(found) < 23


def test_on_the_device_a_batch_is_a_function_of_its_number():
    """A resumed run draws the same; the augmentation of the backgrounds is that of a run without CMO."""
    pipeline = [dict(type='RandomCrop', crop_size=(6, 10), padding=2), dict(type='PackInputs')]
    first, again, plain = (device_dataset(pipeline=pipeline, **o) for o in (dict(cmo={}), dict(cmo={}), {}))
    mixed = 0
    for number in range(8):
        one, other = first.__getitems__(range(8)), plain.__getitems__(range(8))
        again.start(0, number)
        two = again.__getitems__(range(8))
        assert torch.equal(one['inputs'], two['inputs'])
        if one['data_samples'].gt_score is None:
            assert torch.equal(one['inputs'], other['inputs'])
        else:
            mixed += 1
            assert torch.equal(one['data_samples'].gt_score, two['data_samples'].gt_score)
            assert (one['inputs'] == other['inputs']).all(1).any()
    assert 0 < mixed < 8
    first.set_mixing(False)
    assert torch.equal(first.__getitems__(range(8))['inputs'], plain.__getitems__(range(8))['inputs'])
    with pytest.raises(ValueError, match='nothing to switch'):
        plain.set_mixing(False)


def test_workers_that_go_on_see_the_switch():
    dataset = CMODataset(dict(type='PlainColours'), prob=1)
    dataset.full_init()
    loader = DataLoader(dataset, batch_size=8, num_workers=1, persistent_workers=True, collate_fn=list,
                        multiprocessing_context='fork')
    for on in (True, False, True):
        dataset.set_mixing(on)
        assert all(('gt_score' in item['data_samples']) == on for batch in loader for item in batch)
    del loader


def test_counts_and_samplers_see_the_backgrounds():
    dataset = CMODataset(dict(type='PlainColours'))
    dataset.full_init()
    assert count_classes(dataset).images == COUNTS
    assert ClassBalancedSampler(dataset, seed=0).counts.tolist() == list(COUNTS)
    assert len(dataset) == 47 and dataset.metainfo['classes'] == tuple('abcd') and dataset.get_cat_ids(46) == [3]
    assert len(copy.deepcopy(dataset)) == 47 and 'prob=0.5' in repr(dataset)


def test_bad_input():
    for option, value in (('prob', 0), ('prob', 1.1), ('alpha', 0), ('power', -1), ('prob', True), ('alpha', '1')):
        with pytest.raises(ValueError, match=f'CMO: {option}='):
            CMODataset(dict(type='PlainColours'), **{option: value})
    with pytest.raises(TypeError, match='outermost'):
        CMODataset(dict(type='PlainColours'))[0]
    with pytest.raises(ValueError, match='must end in PackInputs'):
        CMODataset(dict(type='PlainColours', pack=False)).__getitems__([0, 1])
    with pytest.raises(ValueError, match=r'sizes \[\(4, 4\), \(6, 10\)\]'):
        CMODataset(dict(type='PlainColours', sizes=((6, 10), (4, 4))), prob=1).__getitems__([0, 1])
    with pytest.raises(ValueError, match='labels from 0 to 3 in a data set of 2 classes'):
        CMODataset(dict(type='PlainColours', metainfo=dict(classes=('a', 'b')))).full_init()

