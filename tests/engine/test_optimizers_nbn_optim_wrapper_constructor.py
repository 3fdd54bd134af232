"""Weight decay of directions and magnitudes, with the configs of both hosts."""
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import nbn_mm  # noqa: F401, the import registers
from nbn_mm.models.layers import NBN
from nbn_mm.utils.hosts import host_error

DECAY = 0.01


class Model(nn.Module):
    """Placed NBN, an NBN layer of its own, plain BN and a classifier."""

    def __init__(self, **nbn):
        super().__init__()
        self.backbone = MODELS.build(dict(type='NBNBackbone', base='CIFARResNet', depth=8, nbn=nbn))
        self.neck = nn.Sequential(nn.Linear(4, 4), NBN(4, separate_bias_magnitude=True))
        self.head = nn.Linear(4, 2)


def settings(model, constructor='NBNOptimWrapperConstructor', optimizer=None, **paramwise_cfg):
    """Parameter name → (weight decay, lr), and the wrapper."""
    optimizer = optimizer or dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=DECAY)
    cfg = dict(optimizer=optimizer, paramwise_cfg=paramwise_cfg)
    if constructor:
        cfg['constructor'] = constructor
    wrapper = build_optim_wrapper(model, cfg)
    names = {id(p): n for n, p in model.named_parameters()}
    found = [(names[id(p)], (g['weight_decay'], g['lr'])) for g in wrapper.optimizer.param_groups for p in g['params']]
    assert len(found) == len(dict(found)), 'a parameter stands in two groups'
    return dict(found), wrapper


def kind(name):
    if name.endswith('magnitude') or '.magnitudes.' in name:
        return 'magnitude'
    if name.startswith(('backbone.layer3.0.bn2.', 'neck.1.')):
        return 'direction'
    if '.bn' in name:
        return 'bn'
    return 'bias' if name.endswith('bias') else 'weight'


def decays(found):
    kinds = {}
    for name, (decay, _) in found.items():
        kinds.setdefault(kind(name), set()).add(round(decay / DECAY, 6))
    return kinds


ONE = dict(weight={1}, bias={1}, bn={1}, direction={1}, magnitude={1})


@pytest.mark.parametrize('paramwise_cfg, want', [
    (dict(), {}),
    (dict(norm_decay_mult=0.), dict(bn={0})),
    (dict(norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.), dict(bn={0}, bias={0})),
    (dict(direction_decay_mult=0.5, magnitude_decay_mult=0.), dict(direction={0.5}, magnitude={0})),
    (dict(direction_decay_mult=0., norm_decay_mult=2.), dict(direction={0}, bn={2})),
    (dict(custom_keys={'head': dict(decay_mult=3.)}, magnitude_decay_mult=0.),
     dict(weight={1, 3}, bias={3, 1}, magnitude={0})),
    (dict(custom_keys={'nbn.magnitude': dict(decay_mult=0.2)}, magnitude_decay_mult=0.), dict(magnitude={0.2, 0})),
    (dict(custom_keys={'neck': dict(decay_mult=4.)}, direction_decay_mult=0.),
     dict(weight={1, 4}, bias={1, 4}, direction={0, 4}, magnitude={1, 4})),
])
def test_decay(paramwise_cfg, want):
    model = Model()
    found, wrapper = settings(model, **paramwise_cfg)
    assert set(found) == {n for n, _ in model.named_parameters()}
    assert decays(found) == {**ONE, **want}
    # One group for each setting, so that foreach optimisers work on few lists.
    assert len(wrapper.optimizer.param_groups) == len(set(found.values()))


def test_learning_rates_of_custom_keys_reach_nbn():
    keys = {'backbone': dict(lr_mult=0.1), 'nbn.magnitude': dict(lr_mult=5.)}
    found, _ = settings(Model(), custom_keys=keys, magnitude_decay_mult=0.)
    assert found['backbone.nbn.magnitude'] == (0, pytest.approx(0.5))
    assert found['backbone.layer3.0.bn2.weight'] == (DECAY, pytest.approx(0.01))
    assert found['neck.1.magnitude'] == (0, 0.1)


def test_groups_and_frozen_parameters():
    model = Model(share='none', separate_bias_magnitude=True)
    model.backbone.layer3[0].bn2.weight_direction.requires_grad_(False)
    found, _ = settings(model, magnitude_decay_mult=0.)
    assert 'backbone.layer3.0.bn2.weight' not in found and found['backbone.layer3.0.bn2.bias'] == (DECAY, 0.1)
    assert found['backbone.nbn.bias_magnitudes.layer3_0_bn2'] == (0, 0.1)
    assert 'backbone.nbn.magnitude' not in settings(Model(learn_magnitude=False))[0]


def test_the_settings_are_logged_once(monkeypatch):
    from nbn_mm.engine.optimizers import nbn_optim_wrapper_constructor as module
    lines = []
    monkeypatch.setattr(module, 'print_log', lambda line, **_: lines.append(line))
    settings(Model(), direction_decay_mult=0.5, custom_keys={'neck': dict(decay_mult=4.)})
    assert lines == ['NBN: 4 learnable direction parameters, weight decay 0.005, 0.04 (direction_decay_mult=0.5)',
                     'NBN: 3 learnable magnitude parameters, weight decay 0.01, 0.04 (magnitude_decay_mult=1.0)']


def test_the_default_constructor_does_not_stumble():
    for paramwise_cfg in ({}, dict(norm_decay_mult=0.)):
        found, _ = settings(Model(), constructor=None, **paramwise_cfg)
        # The magnitude of a layer of its own counts as a norm's parameter there.
        assert decays(found)['magnitude'] == ({1} if not paramwise_cfg else {0, 1})


def test_training_moves_the_magnitude_once_a_step():
    model = Model().backbone
    _, wrapper = settings(model, optimizer=dict(type='SGD', lr=0.1, weight_decay=DECAY), magnitude_decay_mult=2.)
    loss = model(torch.randn(4, 3, 8, 8))[-1].square().mean()
    start = model.nbn.magnitude.item()
    wrapper.zero_grad()
    loss.backward()
    want = start - 0.1 * (model.nbn.magnitude.grad.item() + 2 * DECAY * start)
    wrapper.step()
    assert model.nbn.magnitude.item() == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize('host, model, optim_wrapper', [
    ('mmpretrain', dict(type='ImageClassifier', head=dict(type='LinearClsHead', num_classes=4, in_channels=64)),
     dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=DECAY), paramwise_cfg=dict(
         norm_decay_mult=0., bias_decay_mult=0., custom_keys={'.cls_token': dict(decay_mult=0.)}))),
    ('mmdet', dict(type='FCOS', bbox_head=dict(type='FCOSHead', num_classes=4, in_channels=64, feat_channels=32)),
     dict(type='OptimWrapper', clip_grad=dict(max_norm=35, norm_type=2),
          optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=DECAY),
          paramwise_cfg=dict(bias_lr_mult=2., bias_decay_mult=0.))),
])
def test_configs_of_the_hosts(host, model, optim_wrapper):
    if host_error(host) is not None:
        pytest.skip(f'{host} does not import: {host_error(host)}')
    with DefaultScope.overwrite_default_scope(host):
        backbone = dict(type='NBNBackbone', base='ResNet', depth=18, base_channels=8, stem_channels=8)
        if host == 'mmdet':
            model = dict(model, neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=64, num_outs=5))
        built = MODELS.build({**model, 'backbone': backbone})
        wrapper = build_optim_wrapper(built, dict(constructor='NBNOptimWrapperConstructor', **optim_wrapper))
    names = {id(p): n for n, p in built.named_parameters()}
    found = {names[id(p)]: g for g in wrapper.optimizer.param_groups for p in g['params']}
    assert set(found) == {n for n, p in built.named_parameters() if p.requires_grad}
    assert found['backbone.nbn.magnitude']['weight_decay'] == DECAY
    assert found['backbone.layer4.1.bn2.bias']['weight_decay'] == DECAY
    assert found['backbone.layer4.1.bn2.bias']['lr'] == optim_wrapper['optimizer']['lr']
    assert len(wrapper.optimizer.param_groups) <= 4


@pytest.mark.parametrize('cfg, message', [
    (dict(direction_decay_mult=-1), 'paramwise_cfg.direction_decay_mult=-1 must be a number >= 0'),
    (dict(magnitude_decay_mult='0'), "paramwise_cfg.magnitude_decay_mult='0' must be a number >= 0"),
    (dict(magnitude_decay_mult=1., optimizer=dict(type='SGD', lr=0.1)), 'add optim_wrapper.optimizer.weight_decay'),
    (dict(optimizer=dict(type='SGD', weight_decay=0.1)), 'needs optim_wrapper.optimizer.lr'),
])
def test_wrong_settings(cfg, message):
    with pytest.raises(ValueError, match=message):
        settings(Model(), **cfg)
