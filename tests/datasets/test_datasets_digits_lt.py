import builtins

import numpy as np
import pytest

from nbn_mm.datasets import count_classes, shot_groups
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')
datasets = pytest.importorskip('sklearn.datasets', reason='needs scikit-learn')


def build(**kwargs):
    from mmpretrain.registry import DATASETS
    return DATASETS.build(dict(type='DigitsLT', **kwargs))


def test_train_sizes_and_groups():
    counts = count_classes(build())
    assert counts.images == (144, 103, 74, 53, 38, 27, 19, 14, 10, 7)
    assert {name: len(group) for name, group in shot_groups(counts.images).items()} == dict(many=2, medium=4, few=4)
    assert count_classes(build(imbalance_factor=1)).images == (144, ) * 10
    assert count_classes(build(imbalance_factor=10, imbalance_type='step')).images == (144, ) * 5 + (14, ) * 5


def test_test_split_is_balanced_and_disjoint_from_training():
    digits = datasets.load_digits()
    test, train = build(split='test'), build(imbalance_factor=1)
    assert count_classes(test).images == (30, ) * 10
    expected = []
    for label in range(10):
        rows = [i for i, target in enumerate(digits.target) if target == label]
        expected += [tuple(digits.images[i].ravel()) for i in rows[-30:]]
    got = [tuple(np.round(test.get_data_info(i)['img'][..., 0] / 255 * 16).ravel()) for i in range(300)]
    assert got == expected
    seen = {train.get_data_info(i)['img'].tobytes() for i in range(len(train))}
    assert not seen & {test.get_data_info(i)['img'].tobytes() for i in range(300)}


def test_images():
    info = build().get_data_info(0)
    assert info['img'].shape == (8, 8, 3) and info['img'].dtype == np.uint8
    assert (info['img'][..., 0] == info['img'][..., 2]).all() and info['img'].max() > 200
    test = build(split='test')
    levels = {value for i in range(50) for value in test.get_data_info(i)['img'].ravel().tolist()}
    assert levels <= {round(level * 255 / 16) for level in range(17)} and {0, 255} <= levels


def test_subset_is_the_same_each_time_and_follows_the_seed():
    assert build().subset_hash == build(subset=0).subset_hash == '13eeecf53d7b337c'
    assert len({build().subset_hash, build(subset=1).subset_hash, build(subset='first').subset_hash}) == 3


def test_images_run_through_a_pipeline():
    dataset = build(pipeline=[dict(type='Resize', scale=16), dict(type='PackInputs')])
    sample = dataset[0]
    assert sample['inputs'].shape == (3, 16, 16) and sample['data_samples'].gt_label.item() == 0


@pytest.mark.parametrize('kwargs, match', [
    (dict(imbalance_factor=0.9), 'imbalance_factor=0.9 must be at least 1'),
    (dict(imbalance_factor=145), 'imbalance_factor=145 leaves class 9'),
    (dict(split='val'), "split='val' is unknown"),
    (dict(subset='x'), "subset='x'"),
])
def test_bad_arguments(kwargs, match):
    with pytest.raises(ValueError, match=match):
        build(**kwargs)


def test_without_scikit_learn(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split('.')[0] == 'sklearn':
            raise ImportError('no sklearn here')
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(ImportError, match='pip install scikit-learn.*no sklearn here'):
        build()
