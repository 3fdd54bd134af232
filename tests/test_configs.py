"""Loads every config and builds every leaf; one training step where the host is there."""
import inspect
import math
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from nbn_mm.models.layers import NBN
from nbn_mm.utils.hosts import host_error

ROOT = Path(__file__).resolve().parents[1]
LEAVES = sorted(p for p in (ROOT / 'configs').rglob('*.py') if '_base_' not in p.parts)
IDS = [p.relative_to(ROOT / 'configs').as_posix() for p in LEAVES]


def build(cfg, initialise=True):
    host = cfg.default_scope
    if host_error(host) is not None:
        pytest.skip(f'{host} does not import: {host_error(host)}')
    with DefaultScope.overwrite_default_scope(host):
        model_cfg = cfg.model
        preprocessor = cfg.get('data_preprocessor')
        if preprocessor is not None:
            model_cfg.setdefault('data_preprocessor', preprocessor)
        model = MODELS.build(model_cfg)
    if initialise:
        model.init_weights()
    return model


def images_of(dataset):
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


@pytest.fixture
def weights_undrawn(monkeypatch):
    """Large networks are built without drawing numbers, which takes nearly all of the time."""
    for name in ('kaiming_uniform_', 'uniform_', 'normal_'):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)


# folder -> type of the data set, classes
FAMILIES = dict(imagenet_lt=('ImageNetLT', 1000), inat18=('INaturalist2018', 8142), places_lt=('PlacesLT', 365),
                tiny_imagenet_lt=('ImageListLT', 200))
SMALL = [p for p in LEAVES if p.parent.name in ('cifar', 'demo') or 'resnet18q' in p.stem]
LARGE = [p for p in LEAVES if p not in SMALL and p.parent.name != 'lvis']  # see test_configs_lvis.py


def name_of(path):
    return path.relative_to(ROOT / 'configs').as_posix()


@pytest.mark.parametrize('path', LARGE, ids=name_of)
def test_large_leaf_builds_what_its_name_says(path, weights_undrawn):
    check_leaf(path, initialise=False)


@pytest.mark.parametrize('path', [p for p in LEAVES if p.parent.name in FAMILIES], ids=name_of)
def test_leaf_names_the_data_of_its_family(path):
    cfg = Config.fromfile(path)
    kind, num_classes = FAMILIES[path.parent.name]
    assert cfg.model.head.num_classes == num_classes
    assert cfg.model.data_preprocessor.get('num_classes', num_classes) == num_classes
    assert {images_of(cfg[f'{name}_dataloader'].dataset).type for name in ('train', 'val', 'test')} == {kind}
    splits = [images_of(cfg[f'{name}_dataloader'].dataset).get('split') for name in ('train', 'val', 'test')]
    assert splits == dict(imagenet_lt=['train', 'val', 'test'], places_lt=['train', 'val', 'test'],
                          inat18=['train', 'val', 'val'], tiny_imagenet_lt=[None] * 3)[path.parent.name]


@pytest.mark.parametrize('path', SMALL, ids=name_of)
def test_leaf_builds_what_its_name_says(path):
    check_leaf(path)


def check_leaf(path, initialise=True):
    cfg = Config.fromfile(path)
    model = build(cfg, initialise)
    placed = [m for m in model.modules() if isinstance(m, NBN)]
    parts = path.stem.split('_')
    assert bool(placed) == ('nbn' in parts)
    assert any('.nbn.magnitude' in name for name, _ in model.named_parameters()) == ('nbn' in parts)
    rectified = any(name.endswith('logit_rectification') for name, _ in model.named_modules())
    assert rectified == ('lr' in parts)
    factor = re.search(r'_ir(\d+)$', path.stem)
    if 'cifar' in path.stem:
        dataset, val, test = (images_of(cfg[f'{name}_dataloader'].dataset) for name in ('train', 'val', 'test'))
        assert (cfg.train_dataloader.dataset.type == 'DeviceDataset') == ('perimage' not in parts)
        assert dataset.imbalance_factor == (int(factor.group(1)) if factor else 100)
        assert dataset.type == ('CIFAR100LT' if 'cifar100' in path.stem else 'CIFAR10LT')
        assert val.type == test.type == dataset.type
    loss = type(model.head.loss_module).__name__ if hasattr(model, 'head') else None
    expected = {'ce': 'CrossEntropyLoss', 'bsl': 'BalancedSoftmaxLoss', 'seesaw': 'FastSeesawClsLoss',
                'focal': 'FocalLoss', 'ldam': 'LDAMLoss', 'cb': 'ClassBalancedLoss', 'la': 'LogitAdjustmentLoss',
                'eql': 'SoftmaxEqualizationLoss', 'ala': 'AdaptiveLogitAdjustmentLoss',
                'disalign': 'GeneralizedReweightLoss',
                'gcl': 'CrossEntropyLoss' if 'stage2' in parts else 'GaussianCloudedLogitLoss'}
    for key, name in expected.items():
        if loss is not None and key in parts:
            assert loss == name


@pytest.mark.parametrize('path', LEAVES, ids=IDS)
def test_leaf_docstring_gives_the_command_and_marks_the_figure(path):
    text = path.read_text()
    assert f'configs/{path.relative_to(ROOT / "configs").as_posix()}' in text, 'the docstring lacks the command'
    for line in text.splitlines():
        if 'paper' in line and re.search(r'\d\d\.\d', line):
            assert 'published, not re-run' in line
    assert len(inspect.cleandoc(text).splitlines()) < 40, 'a leaf states only its difference'


@pytest.mark.parametrize('name', ['resnet32_nbn_lr_bsl_cifar10_lt', 'resnet32_bn_ce_cifar10_lt',
                                  'resnet32_nbn_lr_seesaw_cifar10_lt', 'resnet32x4_nbn_lr_bsl_cifar100_lt'])
def test_leaf_trains_a_step(name):
    pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')
    from mmengine.optim import build_optim_wrapper
    from mmpretrain.structures import DataSample

    from nbn_mm.datasets.class_counts import ClassCounts

    cfg = Config.fromfile(ROOT / 'configs' / 'cifar' / f'{name}.py')
    model = build(cfg)
    num_classes = model.head.num_classes
    counts = ClassCounts(classes=tuple(map(str, range(num_classes))), images=tuple(range(num_classes, 0, -1)))
    for module in model.modules():
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts(counts)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    torch.manual_seed(0)
    data = dict(
        inputs=torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8),
        data_samples=[DataSample().set_gt_label(i) for i in (0, 1, 2, 3)])
    before = {k: v.clone() for k, v in model.named_parameters()}
    first = model.train_step(data, wrapper)['loss']
    assert torch.isfinite(first)
    still = [k for k, v in model.named_parameters() if torch.equal(before[k], v)]
    # the classifier's bias behind logit rectification has no gradient: standardising removes a shift
    assert [k for k in still if k != 'head.fc.bias'] == []


@pytest.mark.parametrize('world_size', [1, 2])
def test_cifar_recipe_is_that_of_the_total_batch(world_size):
    """512 images a step and the published learning rate whatever the number of ranks."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import PARAM_SCHEDULERS

    from nbn_mm.engine.launch.distributed import divide_global_batch

    cfg = Config.fromfile(ROOT / 'configs/cifar/resnet32_bn_ce_cifar10_lt.py')
    divide_global_batch(cfg, world_size)
    assert cfg.train_dataloader.batch_size * world_size == 512
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
    schedulers = [PARAM_SCHEDULERS.build(dict(s, optimizer=wrapper)) for s in cfg.param_scheduler]
    rates = []
    for _ in range(cfg.train_cfg.max_iters):
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    expected = [0.05 + 0.05 * i / 799 if i < 800 else 0.05 * (1 + math.cos(math.pi * (i - 800) / 12200))
                for i in range(13000)]
    assert max(abs(a - b) for a, b in zip(rates, expected, strict=True)) < 1e-3
    assert rates[0] == pytest.approx(0.05) and max(rates) == pytest.approx(0.1, rel=1e-3) and rates[-1] < 1e-7


def _rates_of_epochs(cfg):
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import PARAM_SCHEDULERS

    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
    schedulers = [PARAM_SCHEDULERS.build(dict(s, optimizer=wrapper)) for s in cfg.param_scheduler]
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


def test_cmo_recipe():
    """CMO's published schedule on iNaturalist: warm-up over five epochs, a tenth from epoch 75 on."""
    cfg = Config.fromfile(ROOT / 'configs/inat18/resnet50_bn_bsl_cmo_inat18.py')
    expected = [0.02, 0.04, 0.06, 0.08] + 71 * [0.1] + 25 * [0.01]
    assert _rates_of_epochs(cfg) == pytest.approx(expected) and cfg.optim_wrapper.optimizer.weight_decay == 2e-4
    assert cfg.global_batch_size == cfg.train_dataloader.batch_size == 256


def test_ldam_drw_recipe():
    """LDAM-DRW's published schedule: warm-up over five epochs, two steps of 0.01, re-weighting at the first."""
    cfg = Config.fromfile(ROOT / 'configs/cifar/resnet32_bn_ldam_drw_cifar10_lt.py')
    expected = [0.02, 0.04, 0.06, 0.08] + 156 * [0.1] + 20 * [1e-3] + 20 * [1e-5]
    assert _rates_of_epochs(cfg) == pytest.approx(expected) and cfg.optim_wrapper.optimizer.weight_decay == 2e-4
    assert cfg.default_hooks.stage.stages == [dict(begin=160, reweight=True)]
    assert cfg.global_batch_size == cfg.train_dataloader.batch_size == 128 and not cfg.train_dataloader.drop_last
    assert [t.type for t in cfg.train_dataloader.dataset.pipeline] == ['RandomCrop', 'RandomFlip', 'PackInputs']
