"""What the launch says and sets about data sets on the device, before anything is built."""
import copy
import inspect

import pytest
from mmengine.config import Config

from nbn_mm.engine.launch import LaunchError
from nbn_mm.engine.launch.configure import _set_dataloaders, _use_tta, configure_train, load_config
from nbn_mm.engine.launch.device_data import OPTIONS, check_device_data, read_each_image
from nbn_mm.utils.hosts import host_error

CROP = [dict(type='RandomCrop', crop_size=8, padding=2), dict(type='PackInputs')]
INNER = dict(type='CIFAR10LT', data_root='data/cifar10')
HOOKS = dict(device_data=dict(type='DeviceDataHook'))


def config(pipeline=CROP, hooks=HOOKS, **loader):
    dataset = dict(type='DeviceDataset', dataset=copy.deepcopy(INNER), pipeline=copy.deepcopy(pipeline))
    return Config(dict(default_scope='mmpretrain', default_hooks=copy.deepcopy(hooks),
                       train_dataloader=dict(dict(batch_size=4, num_workers=0, dataset=dataset), **loader)))


def check(cfg):
    check_device_data(cfg, ('train_dataloader', 'val_dataloader'))


@pytest.mark.parametrize(('cfg', 'text'), [
    (config(num_workers=4), r'train_dataloader\.num_workers=4: .*Set train_dataloader\.num_workers=0'),
    (config(collate_fn=dict(type='default_collate')), r"train_dataloader\.collate_fn\.type='default_collate'"),
    (config(dataset=dict(type='DeviceDataset', dataset=INNER, imbalance_factor=50)),
     r'train_dataloader\.dataset\.imbalance_factor=50: .* train_dataloader\.dataset\.dataset\.imbalance_factor'),
    (config(hooks={}), r"device_data=dict\(type='DeviceDataHook'\)"),
    (config([dict(type='ColorJitter', brightness=0.4), *CROP]),
     r"train_dataloader\.dataset\.pipeline: .*'ColorJitter'"),
    (config([dict(type='RandomCrop'), *CROP]), r"train_dataloader\.dataset\.pipeline: RandomCrop: 'crop_size'"),
    (config(dataset=dict(type='RepeatDataset', times=2, dataset=dict(type='DeviceDataset', dataset=INNER))),
     r'train_dataloader\.dataset\.dataset is a DeviceDataset.*outermost'),
])
def test_what_does_not_go_with_it_is_named(cfg, text):
    with pytest.raises(LaunchError, match=text):
        check(cfg)


@pytest.mark.parametrize('cfg', [
    config(), config(collate_fn=dict(type='device_collate')), config([dict(type='PackInputs')], hooks={}),
    config(hooks={}, dataset=INNER, num_workers=4), Config(dict(train_dataloader=None)),
    Config({**config(hooks={}).to_dict(), 'custom_hooks': [dict(type='DeviceDataHook')]})])
def test_what_goes_with_it(cfg):
    check(cfg)


def test_its_loader_gets_what_it_needs_and_others_the_hosts():
    cfg = config(persistent_workers=True, pin_memory=True)
    cfg.val_dataloader = dict(batch_size=4, num_workers=2, dataset=INNER)
    _set_dataloaders(cfg, {}, ('train_dataloader', 'val_dataloader'), persistent_workers=True)
    ours, host = cfg.train_dataloader, cfg.val_dataloader
    assert ours.collate_fn.type == 'device_collate' and not ours.pin_memory and not ours.persistent_workers
    assert host.collate_fn.type == 'default_collate' and host.persistent_workers


def test_test_time_augmentation_reads_image_by_image():
    cfg = config([dict(type='PackInputs')], collate_fn=dict(type='device_collate'))
    cfg.test_dataloader, cfg.model = cfg.pop('train_dataloader'), dict(type='ImageClassifier')
    cfg.test_dataloader.dataset.dataset.pipeline = [dict(type='LoadImageFromFile')]
    _use_tta(cfg)
    dataset = cfg.test_dataloader.dataset
    assert dataset.type == 'CIFAR10LT' and 'collate_fn' not in cfg.test_dataloader
    assert [step['type'] for step in dataset.pipeline] == ['LoadImageFromFile', 'TestTimeAug']
    bare = config([]).train_dataloader  # whole batches need no packing
    read_each_image(bare)
    assert [step['type'] for step in bare.dataset.pipeline] == ['PackInputs']
    loader = config(dataset=dict(type='DeviceDataset', dataset=dict(type='ConcatDataset', datasets=[INNER])))
    with pytest.raises(LaunchError, match='--tta needs single images, and DeviceDataset wraps ConcatDataset'):
        read_each_image(loader.train_dataloader)


@pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')
def test_the_options_are_those_of_the_class():
    from nbn_mm.datasets.device_dataset import DeviceDataset
    assert tuple(inspect.signature(DeviceDataset).parameters) == OPTIONS


def test_a_training_and_a_test_are_checked(write, checkpoint, on_cpu):
    from nbn_mm.engine.launch.configure import configure_test
    loader = config(num_workers=2).train_dataloader.to_dict()
    path = write(train_dataloader=loader, test_dataloader=loader)
    for call in (lambda cfg: configure_train(cfg, {}), lambda cfg: configure_test(cfg, checkpoint, {})):
        with pytest.raises(LaunchError, match='num_workers=2'):
            call(load_config('train', path, {}))
