import json
import time

import mmengine
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch.utils.data import Subset

from nbn_mm.datasets import ClassCounts, count_classes, parse_class_counts
from nbn_mm.utils.hosts import host_error


class Labelled(BaseDataset):
    """A classification set of mmengine's interface over a list of labels."""

    def __init__(self, labels, classes=('a', 'b', 'c'), **kwargs):
        self.labels = labels
        super().__init__(metainfo=None if classes is None else dict(classes=classes), **kwargs)

    def load_data_list(self):
        return [dict(gt_label=label) for label in self.labels]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)['gt_label']]


class Bare(Labelled):
    """Without a get_cat_ids of its own."""
    get_cat_ids = BaseDataset.get_cat_ids


class Boxes(Labelled):
    """A detection set over a list of lists of box labels."""

    def load_data_list(self):
        return [dict(instances=[dict(bbox_label=label) for label in labels]) for labels in self.labels]

    def get_cat_ids(self, idx):
        return [instance['bbox_label'] for instance in self.get_data_info(idx)['instances']]


LABELS = [0, 0, 2, 0, 2, 0]


@pytest.mark.parametrize('kind', [Labelled, Bare])
@pytest.mark.parametrize('serialize_data', [True, False])
@pytest.mark.parametrize('lazy_init', [True, False])
def test_plain(kind, serialize_data, lazy_init):
    counts = count_classes(kind(LABELS, serialize_data=serialize_data, lazy_init=lazy_init))
    assert counts == ClassCounts(('a', 'b', 'c'), (4, 0, 2))
    assert counts.instances is None and counts.zero_classes == (1, ) and counts.num_classes == 3


def test_indices_restrict():
    assert count_classes(Labelled(LABELS, indices=3)).images == (2, 0, 1)
    assert count_classes(Labelled(LABELS, indices=[2, 4])).images == (0, 0, 2)


def test_multi_label_images_count_once_a_class():
    assert count_classes(Bare([[0, 1], [1, 1, 2], []])) == ClassCounts(('a', 'b', 'c'), (1, 2, 1))


def test_detection():
    counts = count_classes(Boxes([[0, 0, 1], [], [0], [2, 2, 2]]))
    assert counts.images == (2, 1, 1) and counts.instances == (3, 1, 3)
    assert counts.num_images == 3, 'the image without boxes holds no class'


@pytest.mark.parametrize('wrap', [
    lambda d: RepeatDataset(d, 3),
    lambda d: ClassBalancedDataset(d, 0.9),
    lambda d: Subset(RepeatDataset(d, 2), range(3, 9)),
    lambda d: Subset(d, [0, 1, 2, 3, 4, 5, 5, 5]),
    lambda d: Subset(d, [-1, -2, -3, -4, -5, -6]),
])
def test_repetition_changes_nothing(wrap):
    assert count_classes(wrap(Labelled(LABELS))).images == (4, 0, 2)


def test_class_balanced_subset_counts_distinct_images():
    balanced = ClassBalancedDataset(Labelled(LABELS), 0.9)
    assert len(balanced) > len(LABELS)
    picked = list(range(0, len(balanced), 3))
    images = np.bincount([LABELS[i] for i in {balanced.repeat_indices[p] for p in picked}], minlength=3)
    assert count_classes(Subset(balanced, picked)).images == tuple(images)


def test_concatenation_adds_and_nests():
    both = ConcatDataset([Labelled(LABELS), Labelled([1, 1, 0])])
    assert count_classes(both).images == (5, 2, 2)
    assert count_classes(Subset(both, [0, 6, 6, 7, 2])).images == (1, 2, 1)
    assert count_classes(Subset(Subset(both, [5, 6, 7, 8]), [0, 1])).images == (1, 1, 0)
    nested = torch.utils.data.ConcatDataset([both, Subset(RepeatDataset(Labelled([2, 1]), 4), [0, 2, 4])])
    assert count_classes(nested).images == (5, 2, 3)


def test_one_to_one_wrapper_is_looked_through_and_an_unknown_one_refused():

    class Wrapper:

        def __init__(self, dataset, length):
            self.dataset, self.length = dataset, length

        def __len__(self):
            return self.length

    assert count_classes(Wrapper(Labelled(LABELS), 6)).images == (4, 0, 2)
    with pytest.raises(TypeError, match='Wrapper wraps 6 images and yields 4.*class_counts'):
        count_classes(Wrapper(Labelled(LABELS), 4))


@pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')
def test_mmpretrain_sets(tmp_path):
    from mmpretrain.datasets import CustomDataset, KFoldDataset, MultiLabelDataset
    listing = tmp_path / 'train.txt'
    listing.write_text('\n'.join(f'{i}.png {label}' for i, label in enumerate(LABELS)))
    cfg = dict(type='CustomDataset', ann_file=str(listing), classes=['a', 'b', 'c'])
    assert count_classes(CustomDataset(**{k: v for k, v in cfg.items() if k != 'type'})).images == (4, 0, 2)
    fold = KFoldDataset(dict(cfg), fold=0, num_splits=3)
    assert count_classes(fold).images == tuple(np.bincount(fold.get_gt_labels(), minlength=3)) == (2, 0, 2)
    record = dict(metainfo=dict(classes=['a', 'b']), data_list=[dict(img_path='1', gt_label=[0, 1])])
    mmengine.dump(record, tmp_path / 'multi.json')
    assert count_classes(MultiLabelDataset(str(tmp_path / 'multi.json'))) == ClassCounts(('a', 'b'), (1, 1))


@pytest.mark.skipif(host_error('mmdet') is not None, reason='needs mmdet')
def test_mmdet_sets(tmp_path):
    from mmdet.datasets import CocoDataset, MultiImageMixDataset
    from mmdet.datasets import ConcatDataset as DetConcatDataset
    boxes = {1: [1, 1, 2], 2: [], 3: [2], 4: [1]}  # image -> category ids
    images = [dict(id=i, file_name=f'{i}.jpg', height=64, width=64 if i != 4 else 8) for i in boxes]
    anns = [dict(image_id=i, category_id=c, bbox=[1, 1, 6, 6], area=36, iscrowd=0) for i in boxes for c in boxes[i]]
    anns = [dict(ann, id=index) for index, ann in enumerate(anns, 1)]
    anns.append(dict(id=99, image_id=3, category_id=1, bbox=[0, 0, 0, 5], area=0, iscrowd=0))  # dropped by the host
    mmengine.dump(
        dict(images=images, annotations=anns, categories=[dict(id=1, name='a'), dict(id=2, name='b')]),
        tmp_path / 'ann.json')

    def build(**kwargs):
        return CocoDataset(
            ann_file=str(tmp_path / 'ann.json'), metainfo=dict(classes=('a', 'b')), data_prefix=dict(img=''), **kwargs)

    assert count_classes(build()) == ClassCounts(('a', 'b'), (2, 2), (3, 2), 3)
    kept = build(filter_cfg=dict(filter_empty_gt=True, min_size=32))
    assert len(kept) == 2 and count_classes(kept) == ClassCounts(('a', 'b'), (1, 2), (2, 2), 2)
    assert count_classes(MultiImageMixDataset(kept, [])) == count_classes(kept)
    assert count_classes(ClassBalancedDataset(kept, 1.0)) == count_classes(kept)
    assert count_classes(DetConcatDataset([build(), kept])) == ClassCounts(('a', 'b'), (3, 4), (5, 4), 5)


def test_mixed_detection_and_classification_has_no_instances():
    both = torch.utils.data.ConcatDataset([Boxes([[0, 0]]), Labelled([0])])
    assert count_classes(both) == ClassCounts(('a', 'b', 'c'), (2, 0, 0))


@pytest.mark.parametrize('label', [3, -1])
def test_label_outside_of_the_classes(label):
    with pytest.raises(ValueError, match=f'image 2 has label {label}, outside of the 3 classes'):
        count_classes(Labelled([0, 1, label]))


def test_bad_sets():
    with pytest.raises(TypeError, match='label 0.5 of image 1'):
        count_classes(Labelled([0, 0.5]))
    with pytest.raises(ValueError, match='Labelled has no class names.*metainfo'):
        count_classes(Labelled([0], classes=None))
    with pytest.raises(ValueError, match='Labelled holds no images.*train_dataloader'):
        count_classes(Labelled([], serialize_data=False))
    with pytest.raises(ValueError, match='list has no class names'):
        count_classes([1, 2])


def test_unreadable_labels():

    class Unlabelled(Bare):

        def load_data_list(self):
            return [dict(img_path='1.png')]

    with pytest.raises(TypeError, match="labels of Unlabelled can't be read.*class_counts"):
        count_classes(Unlabelled([]))


def test_concatenated_sets_of_different_classes():
    parts = [Labelled([0], classes=('a', 'b')), Labelled([0], classes=('a', 'c', 'd'))]
    with pytest.raises(ValueError, match=r"from label 1 on: Labelled has 2 classes \(\['b'\].*has 3 \(\['c', 'd'\]"):
        count_classes(torch.utils.data.ConcatDataset(parts))


def test_linear_time():
    """Twenty times the images take no more than sixty times the time (a quadratic count would take four hundred)."""

    def seconds(size):
        dataset = Labelled([i % 3 for i in range(size)])
        times = []
        for _ in range(3):
            start = time.process_time()
            count_classes(dataset)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(40000) < 60 * seconds(2000)


def test_figures():
    counts = ClassCounts('abc', (500, 5, 0))
    assert counts.imbalance_factor == 100
    assert ClassCounts('ab', (0, 0)).imbalance_factor is None and ClassCounts('ab', (0, 0)).gini is None
    values = [7, 1, 4, 0, 12]
    pairs = sum(abs(a - b) for a in values for b in values)
    assert ClassCounts('abcde', values).gini == pytest.approx(pairs / (2 * len(values) * sum(values)))
    assert ClassCounts('ab', (3, 3)).gini == 0


def test_hash_covers_every_part():
    base = ClassCounts(('a', 'b'), (3, 2), (5, 4))
    others = [
        ClassCounts(('a', 'c'), (3, 2), (5, 4)),
        ClassCounts(('a', 'b'), (2, 3), (5, 4)),
        ClassCounts(('a', 'b'), (3, 2), (5, 5)),
        ClassCounts(('a', 'b'), (3, 2))
    ]
    assert len({base.hash, *(o.hash for o in others)}) == 5
    assert base.hash == ClassCounts(['a', 'b'], np.array([3, 2]), np.array([5, 4])).hash == 'ddd760bbb3690a61'


def test_record_survives_a_checkpoint_and_json(tmp_path):
    counts = ClassCounts(('a', 'b'), np.array([3, 2]), np.array([5, 4]))
    torch.save(dict(meta=dict(class_counts=counts.to_dict())), tmp_path / 'c.pth')
    record = torch.load(tmp_path / 'c.pth', weights_only=True)['meta']['class_counts']
    assert ClassCounts.from_dict(record) == counts
    assert ClassCounts.from_dict(json.loads(json.dumps(counts.to_dict()))) == counts


def test_override_forms(tmp_path):
    names = ('cat', 'dog', 'emu')
    expected = ClassCounts(names, (9, 5, 1))
    forms = {
        'list': [9, 5, 1],
        'names': dict(emu=1, cat=9, dog=5),
        'record': expected.to_dict(),
    }
    for name, form in forms.items():
        assert parse_class_counts(form, 3, names) == expected
        path = tmp_path / f'{name}.json'
        path.write_text(json.dumps(form))
        assert parse_class_counts(str(path), 3, names) == expected
        assert parse_class_counts(path, 3).num_classes == 3
    assert parse_class_counts(np.array([9, 5])).classes == ('0', '1')
    assert parse_class_counts(dict(emu=1, cat=9)).classes == ('emu', 'cat')
    assert parse_class_counts(expected) is expected


@pytest.mark.parametrize('value, kwargs, error, match', [
    ([1, 2], dict(num_classes=3), ValueError, 'of ClassCountsHook: it holds 2 classes, but num_classes=3'),
    ([1, 2], dict(classes='abc'), ValueError, 'it holds 2 classes, but num_classes=3'),
    (ClassCounts('ab', (1, 2)), dict(num_classes=3), ValueError, 'it holds 2 classes, but num_classes=3'),
    ([1, 2], dict(classes='abc', num_classes=2), ValueError, '3 class names for num_classes=2'),
    ([], dict(), ValueError, 'at least one class'),
    ([1, -2], dict(), ValueError, r'class 1 \(1\) must not be negative, got -2'),
    ([1, 2.0], dict(), TypeError, r'class 1 \(1\) must be an integer, got 2.0'),
    ([1, True], dict(), TypeError, 'must be an integer, got True'),
    ([1, '2'], dict(), TypeError, "must be an integer, got '2'"),
    (7, dict(), TypeError, 'must be a list, a mapping or the path of a JSON file, got int'),
    (dict(a=1, x=2), dict(classes=('a', 'b')), ValueError, r"missing \['b'\], unknown \['x'\]"),
    (dict(a=1), dict(classes=('a', 'b')), ValueError, 'holds 1 classes, but num_classes=2'),
    (dict(images=[1], instances=3, classes=['a']), dict(), ValueError, '`instances` must be a list or None, got 3'),
    (dict(images=[1], classes='a'), dict(), ValueError, r"without a list under \['classes'\]"),
    (dict(images=[1, 2], classes=['a']), dict(), ValueError, '2 numbers of images for 1 classes'),
    (dict(images=[1], classes=['a'], hash='0' * 16), dict(), ValueError, "hash '0000000000000000' doesn't fit"),
    ([1, 2], dict(num_classes=3, field='class_counts of X'), ValueError, '^class_counts of X: it holds'),
])
def test_bad_overrides(value, kwargs, error, match):
    with pytest.raises(error, match=match):
        parse_class_counts(value, **kwargs)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no file .*none.json'):
        parse_class_counts(tmp_path / 'none.json')
    broken = tmp_path / 'broken.json'
    for content in (b'[1, 2', b'\xff\xfe\x00'):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match='broken.json.*is no JSON file'):
            parse_class_counts(broken)
    broken.write_text('[1, -2]')
    with pytest.raises(ValueError, match='broken.json.*must not be negative'):
        parse_class_counts(broken)


def test_number_of_images_is_part_of_the_record():
    counts = ClassCounts(('a', 'b'), (4, 2), (9, 2), 5)
    assert ClassCounts.from_dict(counts.to_dict()) == counts
    others = [ClassCounts(('a', 'b'), (4, 2), (9, 2), total) for total in (6, None)]
    assert len({record.hash for record in [counts, *others]}) == 3
    record = ClassCounts(('a', 'b'), (4, 2)).to_dict()
    del record['num_images']  # of a checkpoint from before there was this number
    assert ClassCounts.from_dict(record) == ClassCounts(('a', 'b'), (4, 2))
    with pytest.raises(ValueError, match='num_images=3 must be an integer, and at least the 4 images'):
        ClassCounts(('a', 'b'), (4, 2), (9, 2), 3)


def test_a_record_in_the_order_of_a_data_set():
    record = ClassCounts(['cat', 'dog', 'eel'], [5, 4, 3], [50, 40, 30], 9)
    assert record.in_order_of(['eel', 'cat', 'dog']) == ClassCounts(['eel', 'cat', 'dog'], [3, 5, 4], [30, 50, 40], 9)
    assert record.in_order_of(('cat', 'dog', 'eel')) is record
    assert record.in_order_of(['Cat', 'dog', 'Eel']) is record, 'other spellings move nothing'
    assert ClassCounts('012', [1, 2, 3]).in_order_of(['a', 'b', 'c']).images == (1, 2, 3), 'a list is by label'
    assert ClassCounts('102', [1, 2, 3]).in_order_of('012').images == (2, 1, 3)
    with pytest.raises(ValueError, match="another order .* label 1 is 'dog' there and 'Cat'"):
        record.in_order_of(['dog', 'Cat', 'eel'])
    with pytest.raises(ValueError, match='holds 3 classes, but num_classes=2'):
        record.in_order_of(['cat', 'dog'])
    given = parse_class_counts(record.to_dict(), classes=['dog', 'eel', 'cat'])
    assert given.classes == ('dog', 'eel', 'cat') and given.images == (4, 3, 5)
