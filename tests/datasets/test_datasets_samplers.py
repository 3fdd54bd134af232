import itertools
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.model import BaseModel
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Subset

import nbn_mm  # noqa: F401, the import registers
from nbn_mm.datasets import image_labels
from nbn_mm.datasets.samplers import class_samplers

SIZES = (300, 60, 0, 12, 3)
LABELS = np.random.RandomState(0).permutation(np.repeat(np.arange(5), SIZES)).tolist()


class Labelled(BaseDataset):
    """A set over a list of labels whose items are their own positions."""

    def __init__(self, labels=LABELS, **kwargs):
        self.labels = labels
        super().__init__(metainfo=dict(classes=tuple('abcde')), serialize_data=False, **kwargs)

    def load_data_list(self):
        return [dict(gt_label=label) for label in self.labels]

    def prepare_data(self, idx):
        return dict(inputs=torch.tensor(idx))


ALL = [
    dict(type='ClassBalancedSampler'),
    dict(type='ClassBalancedSampler', num_samples_per_class=4),
    dict(type='SquareRootSampler'),
    dict(type='ProgressivelyBalancedSampler', total_epochs=10),
]
IDS = ['class', 'class4', 'root', 'progressive']


def build(cfg, dataset=None, rank=0, world=1, monkeypatch=None, **kwargs):
    if monkeypatch is not None:
        monkeypatch.setattr(class_samplers, 'get_dist_info', lambda: (rank, world))
    dataset = Labelled() if dataset is None else dataset
    return DATA_SAMPLERS.build(dict(cfg, dataset=dataset, **{'seed': 1, **kwargs}))


def shares(sampler, epochs=1):
    hits = np.zeros(5)
    for epoch in epochs if hasattr(epochs, '__iter__') else range(epochs):
        sampler.set_epoch(epoch)
        hits += np.bincount(np.array(LABELS)[list(sampler)], minlength=5)
    return hits


def chi_square(hits, probabilities):
    expected = hits.sum() * np.asarray(probabilities)
    used = expected > 0
    assert hits[~used].sum() == 0
    return ((hits[used] - expected[used])**2 / expected[used]).sum()


LIMIT = 16.3  # chi-square, 3 degrees of freedom, p = 0.001


def test_class_balanced_distribution():
    for num in (1, 4, 7):
        hits = shares(build(dict(type='ClassBalancedSampler', num_samples_per_class=num)), 20)
        assert hits[2] == 0 and hits.sum() == 20 * 375
        assert abs(hits[[0, 1, 3, 4]] / hits.sum() - 0.25).max() < 0.01


def test_class_balanced_rounds():
    """Each round has each class once, with four images at a stroke; images of a class come before any comes again."""
    labels = np.array(LABELS)
    indices = np.array(list(build(dict(type='ClassBalancedSampler', num_samples_per_class=4))))
    strokes = labels[indices[:372]].reshape(-1, 4)
    assert (strokes == strokes[:, :1]).all()
    rounds = strokes[:92, 0].reshape(-1, 4)
    assert all(sorted(r) == [0, 1, 3, 4] for r in rounds.tolist()) and len({tuple(r) for r in rounds.tolist()}) > 5
    for label, size in ((1, 60), (3, 12), (4, 3)):
        own = indices[labels[indices] == label]
        for start in range(0, len(own) - size + 1, size):
            assert len(set(own[start:start + size])) == size
    assert len(set(indices[labels[indices] == 0])) == (labels[indices] == 0).sum()


def test_square_root_distribution():
    root = np.sqrt(SIZES)
    hits = shares(build(dict(type='SquareRootSampler')), 20)
    assert chi_square(hits, root / root.sum()) < LIMIT
    assert chi_square(hits, np.array(SIZES) / 375) > 10 * LIMIT


@pytest.mark.parametrize('epoch, share', [(0, 0), (5, 0.5), (9, 0.9), (10, 1), (25, 1)])
def test_progressive_distribution(epoch, share):
    sampler = build(dict(type='ProgressivelyBalancedSampler', total_epochs=10, epoch_length=8000))
    expected = (1 - share) * np.array(SIZES) / 375 + share * np.array([1, 1, 0, 1, 1]) / 4
    assert sampler.class_probabilities(epoch) == pytest.approx(expected)
    assert chi_square(shares(sampler, [epoch]), expected) < LIMIT


def test_images_of_a_class_are_equally_likely():
    for cfg in ALL[2:]:
        indices = list(build(cfg, epoch_length=60000))
        hits = np.bincount(indices, minlength=375)[np.array(LABELS) == 1]
        assert ((hits - hits.mean())**2 / hits.mean()).sum() < 98.3  # 59 degrees of freedom, p = 0.001


def test_infinite_progressive_counts_rounds():
    sampler = build(
        dict(type='ProgressivelyBalancedSampler', total_samples=8000 * 4, epoch_length=8000, infinite=True))
    indices = np.array(list(itertools.islice(iter(sampler), 8000 * 6)))
    for epoch in range(6):
        hits = np.bincount(np.array(LABELS)[indices[epoch * 8000:(epoch + 1) * 8000]], minlength=5)
        assert chi_square(hits, sampler.class_probabilities(epoch)) < LIMIT
    assert sampler.class_probabilities(4)[4] == 0.25 != sampler.class_probabilities(3)[4]


@pytest.mark.parametrize('cfg', ALL, ids=IDS)
@pytest.mark.parametrize('world, length', [(2, 375), (4, 90), (7, 5), (12, 5)])
def test_ranks_share_one_sequence(cfg, world, length, monkeypatch):
    kwargs = dict(monkeypatch=monkeypatch, epoch_length=length, dataset=Labelled())
    whole = list(build(cfg, rank=0, world=1, **kwargs))
    parts = [build(cfg, rank=rank, world=world, **kwargs) for rank in range(world)]
    lists = [list(part) for part in parts]
    assert {len(part) for part in lists} == {len(parts[0])} == {-(-length // world)}
    together = [index for group in zip(*lists, strict=True) for index in group]
    assert together == (whole * 3)[:len(together)] and len(together) >= length
    cut = [build(cfg, rank=rank, world=world, round_up=False, **kwargs) for rank in range(world)]
    lists = [list(part) for part in cut]
    assert [len(part) for part in lists] == [len(part) for part in cut] and sum(map(len, lists)) == length
    assert [i for group in itertools.zip_longest(*lists) for i in group if i is not None] == whole


@pytest.mark.parametrize('cfg', ALL, ids=IDS)
@pytest.mark.parametrize('world, length', [(1, 375), (2, 375), (4, 90), (7, 5), (12, 5)])
def test_infinite_ranks_share_one_stream(cfg, world, length, monkeypatch):
    """The stream is the epochs in a row, whatever the number of ranks, and a skip lands where a run would be."""
    kwargs = dict(monkeypatch=monkeypatch, epoch_length=length, dataset=Labelled())
    finite = build(cfg, rank=0, world=1, **kwargs)
    stream = []
    for epoch in range(8):
        finite.set_epoch(epoch)
        stream += list(finite)
    parts = [build(cfg, rank=rank, world=world, infinite=True, **kwargs) for rank in range(world)]
    each = len(stream) // world
    lists = [list(itertools.islice(iter(part), each)) for part in parts]
    assert [i for group in zip(*lists, strict=True) for i in group] == stream[:each * world]
    for skipped in (0, 1, each // 2, each - 1):
        parts[-1].set_epoch(3)  # without effect
        parts[-1].skip(skipped)
        assert list(itertools.islice(iter(parts[-1]), each - skipped)) == lists[-1][skipped:]
    assert len(parts[0]) == length
    with pytest.raises(ValueError, match='num_samples=-1'):
        parts[0].skip(-1)


@pytest.mark.parametrize('cfg', ALL, ids=IDS)
def test_sequence_is_a_function_of_seed_and_epoch(cfg):
    sampler = build(cfg)
    first = list(sampler)
    torch.rand(3), np.random.rand(), random.random()
    assert list(sampler) == first == list(build(cfg))
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first and list(build(cfg, seed=2)) != first and list(build(cfg, seed=2)) != second
    sampler.set_epoch(0)
    assert list(sampler) == first and len(sampler) == len(first) == 375
    assert len(list(build(cfg, epoch_length=1000))) == 1000
    assert DATA_SAMPLERS.build(dict(cfg, dataset=Labelled())).seed >= 0  # a seed that ranks agree on


def test_only_an_endless_sampler_can_skip():
    """mmengine takes any sampler with ``skip`` for an endless stream."""
    assert not hasattr(build(ALL[0]), 'skip') and hasattr(build(ALL[0], infinite=True), 'skip')


class Recorder(BaseModel):
    """A model that keeps the indices it was trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, inputs, mode='loss'):
        self.seen.append(inputs.tolist())
        return dict(loss=self.weight.sum())


def _train(work_dir, cfg, loop, resume=False):
    model = Recorder()
    Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=64, num_workers=0, drop_last=loop['by_epoch'] is False, dataset=Labelled(), sampler=dict(cfg),
            collate_fn=dict(type='default_collate')),
        train_cfg=loop,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook', interval=2 if loop['by_epoch'] else 7, by_epoch=loop['by_epoch'])),
        randomness=dict(seed=3),
        resume=resume,
        default_scope='mmengine',
        experiment_name=f'{work_dir.name}_{resume}',
        log_level='ERROR').train()
    return model.seen


@pytest.mark.parametrize('cfg', ALL, ids=IDS)
@pytest.mark.parametrize('infinite', [True, False])
def test_resumed_run_by_iterations_yields_the_next_batch(cfg, infinite, tmp_path, monkeypatch):
    """17 iterations in one go against 7, then 10 more in another Runner; an epoch has fewer than 6 batches."""
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)  # two seconds at each epoch's end
    cfg = dict(cfg, infinite=infinite)
    whole = _train(tmp_path / 'whole', cfg, dict(by_epoch=False, max_iters=17))
    first = _train(tmp_path / 'cut', cfg, dict(by_epoch=False, max_iters=7))
    second = _train(tmp_path / 'cut', cfg, dict(by_epoch=False, max_iters=17), resume=True)
    assert len(whole) == 17 and whole == first + second and len({tuple(batch) for batch in whole}) == 17


def test_resumed_run_by_epochs_yields_the_next_batch(tmp_path):
    cfg = ALL[3]
    whole = _train(tmp_path / 'whole', cfg, dict(by_epoch=True, max_epochs=4))
    first = _train(tmp_path / 'cut', cfg, dict(by_epoch=True, max_epochs=2))
    second = _train(tmp_path / 'cut', cfg, dict(by_epoch=True, max_epochs=4), resume=True)
    assert len(whole) == 24 and whole == first + second


def test_resume_with_workers_loads_the_next_batch():
    """The loader of a resumed run with workers, after a skip of three batches."""
    sampler = build(ALL[1], infinite=True)
    plain = list(itertools.islice(iter(DataLoader(Labelled(), 16, sampler=sampler)), 6))
    sampler.skip(3 * 16)
    resumed = list(itertools.islice(iter(DataLoader(Labelled(), 16, sampler=sampler, num_workers=2)), 3))
    assert [b['inputs'].tolist() for b in resumed] == [b['inputs'].tolist() for b in plain[3:]]


def test_labels_follow_the_positions_of_wrappers():
    base, other = Labelled([0, 1, 1, 4]), Labelled([3, 0])
    assert image_labels(RepeatDataset(base, 2)).tolist() == [0, 1, 1, 4] * 2
    assert image_labels(ConcatDataset([base, other])).tolist() == [0, 1, 1, 4, 3, 0]
    assert image_labels(Subset(ConcatDataset([base, other]), [4, 4, 0])).tolist() == [3, 3, 0]
    balanced = ClassBalancedDataset(BalancedLabelled([0, 1, 1, 4]), 0.9)
    assert image_labels(balanced).tolist() == [[0, 1, 1, 4][i] for i in balanced.repeat_indices]


class BalancedLabelled(Labelled):

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)['gt_label']]


@pytest.mark.parametrize('call, match', [
    (lambda: build(dict(type='ClassBalancedSampler', num_samples_per_class=0)), 'num_samples_per_class=0'),
    (lambda: build(dict(type='SquareRootSampler', epoch_length=0)), 'SquareRootSampler: epoch_length=0'),
    (lambda: build(dict(type='ProgressivelyBalancedSampler')), 'exactly one of total_epochs=None'),
    (lambda: build(dict(type='ProgressivelyBalancedSampler', total_epochs=2, total_samples=3)), 'exactly one'),
    (lambda: build(dict(type='ProgressivelyBalancedSampler', total_epochs=0)), 'total_epochs=0.*must be positive'),
    (lambda: build(dict(type='SquareRootSampler'), Labelled([0, [1, 2]])), r'image 1 has the labels \[1, 2\]'),
    (lambda: build(dict(type='SquareRootSampler'), Labelled([0, -1])), r'image 1 has the labels \[-1\]'),
    (lambda: build(dict(type='SquareRootSampler'), Labelled([])), 'Labelled holds no images to sample'),
])
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()
