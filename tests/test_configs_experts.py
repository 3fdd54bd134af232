"""The leaves with several experts: numbers that must agree, RIDE's schedule, its teacher and its second stage."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
LEAVES = sorted(path for path in CONFIGS.rglob('*_ride*.py') if '_base_' not in path.parts)
WIDTHS = dict(CIFARResNet=64, ResNet=2048, ResNeXt=2048, ResNet_CIFAR=2048)
IMAGENET = CONFIGS / 'imagenet_lt'


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_backbone_and_head_agree(path):
    model = Config.fromfile(path).model
    backbone, head = model.backbone, model.head
    number = int(next(part[4:] for part in path.stem.split('_') if part.startswith('ride')))
    assert backbone.num_experts == head.num_experts == number
    width = 128 if path.stem.startswith('resnet18q') else WIDTHS[backbone.network] * backbone.get('width_multiplier', 1)
    assert head.in_channels == (width * 3 // 4 if backbone.get('reduce_dimension') else width)
    own = head.predictor.type == 'CosineLinear'
    assert (head.loss.base.type == 'LDAMLoss') == own
    assert head.loss.diversity_factor == (-0.45 if own and 'cifar' in path.stem else -0.2)
    if not own:
        assert head.loss.base.type == 'BalancedSoftmaxLoss' and not backbone.get('reduce_dimension')
    if 'nbn' in path.stem.split('_'):
        assert backbone.base == 'MultiExpertBackbone' and backbone.nbn.placement == 'A'


@pytest.mark.parametrize(('leaf', 'rate', 'milestones', 'gamma'), [
    ('cifar/resnet32_bn_ride3_perimage_cifar10_lt', 0.05, (160, 180), 0.01),
    ('cifar/resnet32_bn_ride3_perimage_cifar100_lt', 0.1, (160, 180), 0.01),
    ('imagenet_lt/resnext50_bn_ride4_imagenet_lt', 0.1, (60, 80), 0.1),
    ('inat18/resnet50_bn_ride3_inat18', 0.2, (60, 80), 0.1),
])
def test_rides_own_schedule(leaf, rate, milestones, gamma):
    cfg = Config.fromfile(CONFIGS / f'{leaf}.py')
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
    assert wrapper.optimizer.defaults['nesterov']
    schedulers = [PARAM_SCHEDULERS.build(dict(scheduler, optimizer=wrapper)) for scheduler in cfg.param_scheduler]
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    expected = [rate * min((epoch + 1) / 5, 1) * gamma**sum(epoch >= step for step in milestones)
                for epoch in range(cfg.train_cfg.max_epochs)]
    assert rates == pytest.approx(expected)
    stage, = cfg.default_hooks.stage.stages
    assert stage == dict(begin=160 if gamma == 0.01 else 80, reweight=True)


def test_teacher_and_student():
    student = Config.fromfile(IMAGENET / 'resnext50_bn_ride4_distill_imagenet_lt.py')
    teacher = Config.fromfile(CONFIGS.parent / student.model.teacher.config)
    assert student.model.teacher.checkpoint == f'work_dirs/{Path(student.model.teacher.config).stem}/epoch_100.pth'
    assert teacher.train_cfg.max_epochs == 100 and teacher.model.backbone.num_experts == 6
    for key in ('data_preprocessor', 'neck'):
        assert teacher.model[key] == student.model[key]
    assert student.model.head.loss.loss_weight == student.model.head.distillation.loss_weight == 4


@pytest.mark.parametrize('path', [path for path in LEAVES if 'routing' in path.stem], ids=lambda path: path.stem)
def test_routing_starts_from_its_first_stage(path):
    cfg = Config.fromfile(path)
    folder, name = cfg.load_from.split('/')[1:]
    first = Config.fromfile(path.with_name(f'{folder}.py'))
    assert name == f'epoch_{first.train_cfg.max_epochs}.pth' and cfg.model.backbone == first.model.backbone
    stage, = cfg.default_hooks.stage.stages
    assert stage.norm == 'frozen' and stage.train == [r'^head\.router\.']
