"""Training and evaluation with the data set on the device, in a real Runner: equal to image by image, and resumable."""
import copy
import time

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')

if host_error('mmpretrain') is None:
    from device_classification import AUGMENT, PLAIN, Batches, device_config
    from tiny_classification import config

ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=8, val_interval=100)
EPOCHS = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=100)
ENDLESS = dict(type='InfiniteSampler', shuffle=True)
CHECKPOINT = dict(type='CheckpointHook', by_epoch=False, interval=1)
number = 0


@pytest.fixture(autouse=True)
def quick_runs(monkeypatch):
    """What takes longer than these runs: formatting the config, at the start and in each checkpoint, and collecting
    garbage when a data set is built."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    monkeypatch.setattr('mmengine.dataset.base_dataset.gc.collect', lambda *args: 0)


def run(cfg, seen=None, **changes):
    """A Runner of a name of its own, after training."""
    global number
    number += 1
    cfg = Config(copy.deepcopy(cfg.to_dict() if isinstance(cfg, Config) else cfg))
    cfg.merge_from_dict(changes)
    cfg.experiment_name = f'device_{number}_{time.time()}'
    runner = Runner.from_cfg(cfg)
    if seen is not None:
        runner.register_hook(seen)
    runner.train()
    return runner


def weights(runner):
    return {key: value.clone() for key, value in runner.model.state_dict().items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.mark.parametrize(('loop', 'sampler', 'stops'), [
    (ITERATIONS, ENDLESS, (5, )),
    (ITERATIONS, dict(type='ClassBalancedSampler', infinite=True), (5, )),
    (EPOCHS, dict(type='DefaultSampler', shuffle=True), (3, 5, 7)),
    (EPOCHS, dict(type='ClassBalancedSampler'), (7, )),
], ids=['iterations', 'iterations_class_balanced', 'epochs', 'epochs_class_balanced'])
def test_an_interrupted_run_goes_on_with_the_next_batch(tmp_path, monkeypatch, loop, sampler, stops):
    """36 images in batches of 8: an epoch has 5 batches, so that 3 and 7 lie within one and 5 between two."""
    from nbn_mm.datasets.transforms.batched import BatchedPipeline
    cfg = device_config(tmp_path, hooks=dict(checkpoint=CHECKPOINT), train_cfg=loop)
    cfg.train_dataloader.sampler = sampler
    cfg.param_scheduler = [dict(type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=10)]
    whole = Batches()
    expected = run(cfg, whole)
    assert len({images.float().mean() for _, images, *_ in whole.seen}) == len(whole.seen) == expected.iter
    applied = []
    apply = BatchedPipeline.apply
    monkeypatch.setattr(BatchedPipeline, 'apply', lambda *args: applied.append(1) or apply(*args))
    for stop in stops:
        rest = Batches()
        applied.clear()
        np.random.seed(stop)
        resumed = run(cfg, rest, resume=True, load_from=str(tmp_path / f'iter_{stop}.pth'),
                      work_dir=str(tmp_path / 'resumed'))
        left = whole.seen[stop:]
        assert len(applied) == len(rest.seen) == len(left)  # what was done is not augmented again
        for (i, images, indices, labels), (j, images_2, indices_2, labels_2) in zip(left, rest.seen, strict=True):
            assert i == j and indices == indices_2 and torch.equal(labels, labels_2)
            assert torch.equal(images, images_2)
        assert_equal(weights(expected), weights(resumed))
        assert resumed.iter == expected.iter


@pytest.mark.parametrize('saved, expected', [('epoch_1', {2: 3}), ('iter_5', {1: 0, 2: 3}), ('iter_3', {1: 3, 2: 3})])
def test_an_interrupted_run_with_another_total_batch(tmp_path, saved, expected):
    """Epochs of 3 batches after those of 5: whole ones, but for one that was done."""
    hooks = dict(checkpoint=CHECKPOINT if saved[0] == 'i' else dict(type='CheckpointHook', interval=1))
    cfg = device_config(tmp_path, hooks=hooks, train_cfg=dict(by_epoch=True, max_epochs=1))
    run(cfg)
    cfg.train_dataloader.batch_size = 12
    number = {}

    class Count(Hook):

        def before_train_epoch(self, runner):
            number[runner.epoch + 1] = 0

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            number[runner.epoch + 1] += 1

    run(cfg, Count(), resume=True, load_from=str(tmp_path / f'{saved}.pth'), work_dir=str(tmp_path / 'resumed'),
        train_cfg=dict(by_epoch=True, max_epochs=2))
    assert number == expected


def test_a_run_that_is_interrupted_twice_in_an_epoch(tmp_path):
    """The place counts from the begin of the epoch, not from where the run went on."""
    cfg = device_config(tmp_path, hooks=dict(checkpoint=CHECKPOINT), train_cfg=dict(by_epoch=True, max_epochs=1))
    whole, once, twice = Batches(), Batches(), Batches()
    run(cfg, whole)
    run(cfg, once, resume=True, load_from=str(tmp_path / 'iter_1.pth'), work_dir=str(tmp_path / 'once'))
    run(cfg, twice, resume=True, load_from=str(tmp_path / 'once' / 'iter_4.pth'), work_dir=str(tmp_path / 'twice'))
    assert [i for i, *_ in once.seen] == [1, 2, 3, 4] and [i for i, *_ in twice.seen] == [4]
    assert torch.equal(twice.seen[0][1], whole.seen[4][1])


def test_augmentation_is_that_of_seed_rank_and_number(tmp_path):
    """And of nothing else: the batch is the one that the pipeline makes of the stored images."""
    from nbn_mm.datasets.transforms.batched import BatchedPipeline
    seen = Batches()
    cfg = device_config(tmp_path, train_cfg=ITERATIONS, randomness=dict(seed=3))
    cfg.train_dataloader.sampler = ENDLESS
    runner = run(cfg, seen)
    data = runner.train_dataloader.dataset._data
    for number, images, indices, labels in seen.seen:
        generator = np.random.default_rng((0, 3, 0, number))
        assert torch.equal(images, BatchedPipeline(AUGMENT)(data.images[indices], generator))
        assert torch.equal(labels, data.labels[indices])


@pytest.mark.parametrize('preprocessor', ['BatchClsDataPreprocessor', 'ClsDataPreprocessor'])
@pytest.mark.parametrize('augments', [None, dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
                         ids=['plain', 'mixup', 'cutmix'])
def test_training_equals_that_image_by_image(tmp_path, preprocessor, augments):
    """Same batches without augmentation: weights and metrics are equal bit by bit, with the host's preprocessor too."""
    metric = [dict(type='ShotGroupMetric', topk=(1, )), dict(type='CalibrationMetric'),
              dict(type='mmpretrain.Accuracy', topk=(1, ))]
    results = []
    for name in ('device', 'image'):
        make = device_config if name == 'device' else config
        cfg = make(tmp_path / name, **(dict(pipeline=PLAIN, val=True, preprocessor=preprocessor)
                                       if name == 'device' else {}))
        for split in ('val', 'test'):
            cfg[f'{split}_evaluator'] = dict(type='BatchEvaluator', metrics=metric) if name == 'device' else metric
        cfg.model.train_cfg = augments and dict(augments=augments)
        cfg.model.data_preprocessor.num_classes = 3
        if augments:
            cfg.model.head.loss = dict(type='CrossEntropyLoss', use_soft=True)
        np.random.seed(0)
        runner = run(cfg)
        results.append((weights(runner), runner.val_loop.run(), runner.test()))
    (ours, *metrics), (host, *host_metrics) = results
    assert_equal(ours, host)
    assert metrics == host_metrics
    assert {'shot/all_top1', 'calibration/ece', 'accuracy/top1'} <= metrics[0].keys()


@pytest.mark.parametrize('head', [dict(type='LongTailClsHead'), dict(type='LinearClsHead')])
@pytest.mark.parametrize('evaluator', ['BatchEvaluator', None])
def test_evaluation_equals_that_image_by_image(tmp_path, head, evaluator):
    """With the host's head and evaluator, too; one data sample an image is made only for these."""
    from mmpretrain.structures import DataSample
    head = dict(dict(type='LongTailClsHead', num_classes=3, in_channels=64, topk=(1, ), cal_acc=True,
                     loss=dict(type='CrossEntropyLoss')), **head)
    metric = [dict(type='ShotGroupMetric', topk=(1, )), dict(type='CalibrationMetric')]
    found = []
    for make in (config, device_config):
        cfg = make(tmp_path, metric='CountTakingMetric')
        cfg.model.head = dict(head)
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        cfg.test_evaluator = metric if evaluator is None or make is config else dict(type=evaluator, metrics=metric)
        cfg.experiment_name = f'evaluation_{make.__name__}_{time.time()}'
        runner = Runner.from_cfg(cfg)
        made = []
        init = DataSample.__init__
        DataSample.__init__ = lambda self, made=made, init=init, **kwargs: made.append(1) or init(self, **kwargs)
        try:
            torch.manual_seed(0)
            runner.model.init_weights()
            found.append((runner.test(), len(made)))
        finally:
            DataSample.__init__ = init
    assert found[0][0] == found[1][0] and found[0][1] == 12
    batches = 2  # of 12 images: a loop looks at the last sample of each
    fast = head['type'] == 'LongTailClsHead' and evaluator is not None
    assert found[1][1] == (batches if fast else 12)


def test_recomputed_statistics_leave_the_training_alone(tmp_path):
    """The hook goes through the same data set in between, and twice alike."""
    hook = dict(type='RecomputeStatisticsHook')
    plain, between = Batches(), Batches()
    cfg = device_config(tmp_path, train_cfg=dict(type='IterBasedTrainLoop', max_iters=6, val_interval=2), val=True)
    cfg.train_dataloader.sampler = ENDLESS
    first = run(cfg, plain)
    second = run(cfg, between, custom_hooks=[hook])
    for one, two in zip(plain.seen, between.seen, strict=True):
        assert one[0] == two[0] and torch.equal(one[1], two[1])
    name = 'head.fc.logit_rectification.running_var'
    assert not torch.equal(weights(first)[name], weights(second)[name])
    assert_equal(weights(second), weights(run(cfg, custom_hooks=[hook])))


def test_a_run_without_the_hook_says_so(tmp_path):
    cfg = device_config(tmp_path)
    cfg.default_hooks.pop('device_data')
    with pytest.raises(RuntimeError, match=r"device_data=dict\(type='DeviceDataHook'\)"):
        run(cfg)


def test_the_stock_collate_functions_say_what_to_set(tmp_path):
    for kind in ('default_collate', 'pseudo_collate'):
        cfg = device_config(tmp_path)
        cfg.train_dataloader.collate_fn = dict(type=kind)
        with pytest.raises(KeyError, match=r"collate_fn=dict\(type='device_collate'\)"):
            run(cfg)
    cfg = config(tmp_path)
    cfg.train_dataloader.collate_fn = dict(type='device_collate')
    with pytest.raises(TypeError, match='takes the whole batches of DeviceDataset'):
        run(cfg)


def test_workers_are_refused(tmp_path):
    cfg = device_config(tmp_path)
    cfg.train_dataloader.num_workers = 1
    with pytest.raises(RuntimeError, match='num_workers=0'):
        run(cfg)


def test_soft_labels_need_the_number_of_classes(tmp_path):
    cfg = device_config(tmp_path)
    cfg.model.train_cfg = dict(augments=dict(type='Mixup', alpha=0.8))
    with pytest.raises(ValueError, match='data_preprocessor.num_classes'):
        run(cfg)

