"""The leaves with stages: which parameters their stages let learn, their schedules, their checkpoints."""
import math
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATA_SAMPLERS, PARAM_SCHEDULERS
from test_configs import build

from nbn_mm.engine.hooks import StageHook
from nbn_mm.engine.stages import learnable_names, state_after

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
FC = {'head.fc.weight', 'head.fc.bias'}
SCALES = {'head.fc.scales'}
MAGNITUDE = {'backbone.nbn.magnitude'}
STAGE_2 = sorted(path for path in CONFIGS.rglob('*_stage2_*.py')
                 if re.search('_(crt|lws)_', path.stem) and '_base_' not in path.parts)


@pytest.mark.parametrize(('leaf', 'learns'), [
    ('tiny_imagenet_lt/resnet18q_bn_crt_8e_tiny_imagenet_lt', FC),
    ('tiny_imagenet_lt/resnet18q_nbn_crt_8e_tiny_imagenet_lt', FC),
    ('tiny_imagenet_lt/resnet18q_nbn_lr_crt_8e_tiny_imagenet_lt', FC),
    ('tiny_imagenet_lt/resnet18q_bn_lws_8e_tiny_imagenet_lt', SCALES),
    ('cifar/resnet32_bn_lws_stage2_cifar10_lt', SCALES),
    ('imagenet_lt/resnet50_bn_crt_stage2_imagenet_lt', FC),
    ('imagenet_lt/resnet50_nbn_crt_stage2_imagenet_lt', FC),
    ('imagenet_lt/resnet50_nbn_crt_magnitude_stage2_imagenet_lt', FC | MAGNITUDE),
    ('imagenet_lt/resnext50_bn_lws_stage2_imagenet_lt', SCALES),
    ('imagenet_lt/resnet50_nbn_lws_stage2_imagenet_lt', SCALES),
    ('imagenet_lt/resnet50_nbn_lws_magnitude_stage2_imagenet_lt', SCALES | MAGNITUDE),
    ('inat18/resnet50_nbn_crt_magnitude_stage2_inat18', FC | MAGNITUDE),
])
def test_what_learns_in_stage_2(leaf, learns):
    cfg = Config.fromfile(CONFIGS / f'{leaf}.py')
    model = build(cfg)
    stages = StageHook(cfg.default_hooks.stage.stages).stages
    names = {name for name, _ in model.named_parameters()}
    assert learnable_names(model, names, state_after(stages)) == learns
    if len(stages) == 2:  # one run: LWS's factors are 1 in stage 1
        assert learnable_names(model, names, state_after(stages[:1])) == names - SCALES
    modules = dict(model.named_modules())
    assert all(name in modules for stage in stages for name in stage.reinit)


@pytest.mark.parametrize('path', STAGE_2, ids=lambda path: path.stem)
def test_stage_2_says_where_it_starts(path):
    cfg = Config.fromfile(path)
    stage, = StageHook(cfg.default_hooks.stage.stages).stages
    assert stage.begin == 0 and stage.needs_checkpoint
    folder, name = re.fullmatch(r'work_dirs/([^/]+)/(.+)', cfg.load_from).groups()
    first = Config.fromfile(path.with_name(f'{folder}.py'))
    by_epoch = 'max_epochs' in first.train_cfg
    assert stage.by_epoch == by_epoch
    assert name == (f'epoch_{first.train_cfg.max_epochs}.pth' if by_epoch else f'iter_{first.train_cfg.max_iters}.pth')
    for part in ('backbone', 'neck'):
        assert cfg.model[part] == first.model[part]
    assert cfg.train_dataloader.dataset == first.train_dataloader.dataset
    sampler = dict(cfg.train_dataloader.sampler)
    assert sampler['num_samples_per_class'] == 4 and sampler.get('infinite', False) != by_epoch
    assert DATA_SAMPLERS.get(sampler['type']).__name__ == 'ClassBalancedSampler'
    end = cfg.train_cfg.max_epochs if by_epoch else cfg.train_cfg.max_iters
    assert [scheduler.T_max for scheduler in cfg.param_scheduler] == [end]


def test_the_learning_rate_of_one_run():
    """One epoch of warm-up, a cosine over five, and a cosine from the start over two: 7 iterations an epoch here."""
    cfg = Config.fromfile(CONFIGS / 'tiny_imagenet_lt/resnet18q_bn_crt_8e_tiny_imagenet_lt.py')
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
    schedulers = []
    for scheduler in cfg.param_scheduler:
        scheduler = dict(scheduler)
        kind = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        scheduler.pop('convert_to_iter_based')
        schedulers.append(kind.build_iter_from_epoch(optimizer=wrapper, epoch_length=7, **scheduler))
    rates = []
    for _ in range(56):
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    cosine = [[0.05 * (1 + math.cos(math.pi * i / n)) for i in range(n)] for n in (35, 14)]
    assert rates[0] == pytest.approx(0.01) and rates[7:] == pytest.approx(sum(cosine, []), abs=1e-9)
