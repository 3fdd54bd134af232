"""NBNBackbone on the hosts' own backbones, with their default initialisation."""
import copy
import re

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from torch import nn

import nbn_mm  # noqa: F401, the import registers
from nbn_mm.models.layers import NBN, AllReduceBN
from nbn_mm.models.placement import NBNOwner
from nbn_mm.utils.hosts import host_error

SMALL = dict(base_channels=8, stem_channels=8)
REGNET = dict(arch=dict(w0=8, wa=27.89, wm=2.09, group_w=8, depth=6, bot_mul=1.0))
BOTTLENECK = ['layer4.0.bn3', 'layer4.0.downsample.1', 'layer4.1.bn3', 'layer4.2.bn3']
AVG_DOWN = [n.replace('downsample.1', 'downsample.2') for n in BOTTLENECK]
BASIC = ['layer4.0.bn2', 'layer4.0.downsample.1', 'layer4.1.bn2']
# host, base, arguments, layers of the paper's placement (None: those of the last stage that end in bn3 or downsample)
BACKBONES = [
    ('mmpretrain', 'ResNet', dict(depth=18, **SMALL), BASIC),
    ('mmpretrain', 'ResNet', dict(depth=50, **SMALL), BOTTLENECK),
    ('mmpretrain', 'ResNeXt', dict(depth=50, groups=4, width_per_group=2, **SMALL), BOTTLENECK),
    ('mmpretrain', 'ResNetV1d', dict(depth=50, **SMALL), AVG_DOWN),
    ('mmpretrain', 'SEResNet', dict(depth=50, **SMALL), BOTTLENECK),
    ('mmpretrain', 'Res2Net', dict(depth=50, **SMALL), AVG_DOWN),
    ('mmpretrain', 'RegNet', REGNET, None),
    ('mmdet', 'ResNet', dict(depth=18, **SMALL), BASIC),
    ('mmdet', 'ResNet', dict(depth=50, **SMALL), BOTTLENECK),
    ('mmdet', 'ResNeXt', dict(depth=50, groups=4, base_width=4, **SMALL), BOTTLENECK),
    ('mmdet', 'ResNetV1d', dict(depth=50, **SMALL), AVG_DOWN),
    ('mmdet', 'Res2Net', dict(depth=50, scales=4, base_width=26, **SMALL), AVG_DOWN),
    ('mmdet', 'RegNet', REGNET, None),
]
IDS = [f'{host}.{base}{cfg.get("depth", "")}' for host, base, cfg, _ in BACKBONES]
# The host's zero initialisation passes over block classes that are not its ResNet's.
NOT_ZEROED = [('mmdet', 'ResNeXt'), ('mmdet', 'Res2Net')]
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def need(*hosts):
    for host in hosts:
        if host_error(host) is not None:
            pytest.skip(f'{host} does not import: {host_error(host)}')


def build(host, base, cfg, **nbn):
    with DefaultScope.overwrite_default_scope(host):
        return MODELS.build(dict(type='NBNBackbone', base=base, nbn=nbn, **cfg))


def build_plain(host, base, cfg):
    with DefaultScope.overwrite_default_scope(host):
        return MODELS.build(dict(type=f'{host}.{base}', **cfg))


def trained_state(plain):
    """The checkpoint of a network whose norms are no longer at their start."""
    torch.manual_seed(5)
    state = copy.deepcopy(plain).state_dict()
    for name, module in plain.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            state[f'{name}.weight'].uniform_(0.5, 1.5)
            state[f'{name}.bias'].normal_(0, 0.2)
            state[f'{name}.running_var'].uniform_(0.5, 1.5)
    return state


def placed(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, NBN)}


@pytest.mark.parametrize('host, base, cfg, names', BACKBONES, ids=IDS)
def test_backbones_of_the_hosts(host, base, cfg, names, tmp_path):
    need(host)
    plain = build_plain(host, base, cfg)
    plain.init_weights()
    keys = set(plain.state_dict())
    model = build(host, base, cfg)
    assert type(model) is type(plain) and set(model.state_dict()) == keys | {'nbn.magnitude'}
    if names is None:
        names = [n for n, _ in plain.named_modules() if re.fullmatch(r'layer4\.\d+\.(bn3|downsample\.1)', n)]
    assert list(placed(model)) == sorted(names, key=list(dict(plain.named_modules())).index) and names

    model.init_weights()
    assert all((layer.weight_direction == 1).all() for layer in placed(model).values())
    ends = [n for n in names if 'downsample' not in n]
    zeroed = [n for n in ends if not plain.get_submodule(n).weight.any()]
    if (host, base) in NOT_ZEROED:
        assert not zeroed
    else:
        assert zeroed == ends
        with pytest.raises(ValueError, match=f'{re.escape(ends[0])}: the weight is zero after loading'):
            model.load_state_dict(plain.state_dict(), strict=False)

    state = trained_state(plain)
    for load in (lambda m: m.load_state_dict(state, strict=False), lambda m: mmengine_load(m, state)):
        fresh = build(host, base, cfg)
        load(fresh)
        load(model)  # after init_weights
        for m in (fresh, model):
            assert all(torch.equal(layer.weight_direction, state[f'{n}.weight']) for n, layer in placed(m).items())
    result = fresh.load_state_dict(state, strict=False)
    assert result.missing_keys == ['nbn.magnitude'] and not result.unexpected_keys

    torch.save({'state_dict': {f'backbone.{k}': v for k, v in state.items()}}, tmp_path / 'plain.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'plain.pth'), prefix='backbone.')
    model = build(host, base, dict(**cfg, init_cfg=init_cfg), init_magnitude='pretrained')
    model.init_weights()
    plain.load_state_dict(state)
    plain.eval(), model.eval()
    with torch.no_grad():
        for ours, theirs in zip(model(X), plain(X), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('host', ['mmpretrain', 'mmdet'])
@pytest.mark.parametrize('frozen', [1, 4])
@pytest.mark.parametrize('norm_eval', [False, True])
def test_frozen_stages_leave_the_magnitude_learnable(host, frozen, norm_eval):
    need(host)
    model = build(host, 'ResNet', dict(depth=18, frozen_stages=frozen, norm_eval=norm_eval, **SMALL), placement='C')
    model.init_weights()
    model.train()
    layers = placed(model)
    assert len(layers) == 20 and model.nbn.training and model.nbn.magnitude.requires_grad
    for name, layer in layers.items():
        is_frozen = name == 'bn1' or int(name[5]) <= frozen
        assert layer.weight_direction.requires_grad is not is_frozen
        assert layer.training is not (is_frozen or norm_eval)
    step = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = model(X)[-1]
    before.square().sum().backward()
    assert model.nbn.magnitude.grad.abs() > 0
    step.step()
    assert not torch.equal(model(X)[-1], before)
    model = build(host, 'ResNet', dict(depth=18, frozen_stages=frozen, **SMALL), placement='C', learn_magnitude=False)
    assert not [n for n, _ in model.named_parameters() if n.startswith('nbn')] and not model.nbn.magnitude.requires_grad


def test_norm_cfg_requires_grad_is_kept():
    need('mmdet')
    cfg = dict(depth=50, norm_cfg=dict(type='BN', requires_grad=False, eps=1e-3), **SMALL)
    model = build('mmdet', 'ResNet', cfg)
    layer = model.layer4[0].bn3
    assert not layer.weight_direction.requires_grad and layer.eps == 1e-3 and model.nbn.magnitude.requires_grad


@pytest.mark.parametrize('placement, number', [('paper', 4), ('A', 10), ('B_stage', 6), ('B_network', 49), ('C', 53)])
def test_placements_in_resnet50(placement, number):
    need('mmpretrain')
    assert len(placed(build('mmpretrain', 'ResNet', dict(depth=50, **SMALL), placement=placement))) == number


def test_cifar_resnet():
    model = MODELS.build(dict(type='NBNBackbone', base='CIFARResNet', depth=32))
    assert list(placed(model)) == [f'layer3.{i}.bn2' for i in range(5)]
    model.init_weights()
    assert all(layer.weight_direction.all() for layer in placed(model).values())
    assert model(X)[-1].isfinite().all()


def test_other_backbones_by_pattern():
    need('mmpretrain')
    with pytest.raises(ValueError, match=r'Block layer7.0 \(InvertedResidual\) has no batch norm named with .*pattern'):
        build('mmpretrain', 'MobileNetV2', {})
    model = build('mmpretrain', 'MobileNetV2', {}, pattern=r'^layer7\..*\.conv\.2\.bn$|conv2\.bn')
    assert list(placed(model)) == ['layer7.0.conv.2.bn', 'conv2.bn']
    model.init_weights()
    model.train()
    assert model(X)[-1].isfinite().all()


def test_sync_covers_the_backbone():
    need('mmdet')
    model = build('mmdet', 'ResNet', dict(depth=18, **SMALL), sync=True)
    kinds = {type(m) for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert kinds == {NBN, AllReduceBN}
    other = build('mmdet', 'ResNet', dict(depth=18, norm_eval=False, **SMALL))
    other.load_state_dict(model.state_dict())
    model.norm_eval = False
    model.train(), other.train()
    assert model.layer1[0].bn1.training
    assert torch.equal(model(X)[-1], other(X)[-1])  # one process: the ordinary batch norm


def test_norm_cfg_in_either_host():
    for host in ('mmpretrain', 'mmdet'):
        need(host)
        model = build_plain(host, 'ResNet', dict(depth=18, norm_cfg=dict(type='NBN'), **SMALL))
        model.init_weights()
        assert len(placed(model)) == 20 and all((m.weight_direction == 1).all() for m in placed(model).values())
        assert len([n for n, _ in model.named_parameters() if n.endswith('.magnitude')]) == 20
        with pytest.raises(ValueError, match="share='all' in norm_cfg.*NBNBackbone"):
            build_plain(host, 'ResNet', dict(depth=18, norm_cfg=dict(type='NBN', share='all'), **SMALL))
        with pytest.raises(ValueError, match='is NBN already'):
            build(host, 'ResNet', dict(depth=18, norm_cfg=dict(type='NBN'), **SMALL))


def test_scopes():
    need('mmpretrain', 'mmdet')
    import mmpretrain.models

    def make(**cfg):
        return MODELS.build(dict(type='NBNBackbone', depth=18, **SMALL, **cfg))

    module = mmpretrain.models.backbones.ResNet
    assert type(make(base='mmpretrain.ResNet')) is module and type(make(base=module)) is module
    assert type(make(base='mmdet.ResNet')).__module__.startswith('mmdet')
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert type(make(base='mmpretrain.ResNet')) is module
        with pytest.raises(KeyError, match="base='SEResNet' is not in the registry of 'mmdet'.*mmpretrain.SEResNet"):
            make(base='SEResNet')
    only_one_host = MODELS.build(dict(type='NBNBackbone', base='SEResNet', depth=50, **SMALL))
    assert type(only_one_host).__module__.startswith('mmpretrain')
    with pytest.raises(ValueError, match=r"backbone.base='ResNet' is known to mmdet and mmpretrain: set default_scope"):
        make(base='ResNet')
    with pytest.raises(KeyError, match="backbone.base='ResNot' is in no registry"):
        make(base='ResNot')


@pytest.mark.parametrize('cfg, error, message', [
    (dict(base='ResNet', nbn=['paper']), TypeError, r"backbone.nbn=\['paper'\] must be a dict"),
    (dict(base=3), TypeError, 'backbone.base=3 must be the name of a backbone'),
    (dict(base='ResNet', placement='C'), ValueError, r"backbone.placement='C' belongs into .*nbn=dict\(placement"),
    (dict(base='ResNet', nbn=dict(placement='last')), ValueError, "nbn.placement='last' must be one of"),
    (dict(base='ResNet', nbn=dict(pattern='bn7')), ValueError, "nbn.pattern='bn7' matches no batch norm of ResNet"),
    (dict(base='ResNet', nbn=dict(norm_eps=-1)), ValueError, 'norm_eps=-1 must be'),
    (dict(base='ResNet', nbn=dict(stages=(5, ))), ValueError, r'nbn.stages=\(5,\): ResNet has 4 stages'),
    (dict(base='ResNet', nbn=dict(eta=1)), ValueError, "Unknown NBN option 'eta'"),
    (dict(base='ResNet', norm_cfg=dict(type='SyncBN')), ValueError, r'bn1 is a SyncBN.*nbn=dict\(sync=True\)'),
    (dict(base='ResNet', norm_cfg=dict(type='GN', num_groups=2)), ValueError, 'ResNet has no batch norm.*norm_cfg'),
    (dict(base='CrossEntropyLoss', depth=None), ValueError, 'CrossEntropyLoss has no batch norm'),
])
def test_wrong_configs(cfg, error, message):
    need('mmpretrain')
    cfg = dict(dict(type='NBNBackbone', depth=18, **SMALL), **cfg)
    if cfg['base'] == 'CrossEntropyLoss':
        cfg = dict(type='NBNBackbone', base='CrossEntropyLoss')
    with DefaultScope.overwrite_default_scope('mmpretrain'), pytest.raises(error, match=message):
        MODELS.build(cfg)


def test_base_that_is_no_module():
    with pytest.raises(TypeError, match="backbone.base=.*dict.* builds a dict, which is no torch module"):
        MODELS.build(dict(type='NBNBackbone', base=dict))


def test_options_of_a_config_merge():
    """A child config changes the placement, the depth and the base without `_delete_`."""
    need('mmpretrain')
    from mmengine.config import Config
    base = Config(dict(model=dict(backbone=dict(type='ResNet', depth=18, **SMALL))))
    base.merge_from_dict(dict(model=dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(share='block')))))
    base.merge_from_dict(dict(model=dict(backbone=dict(depth=50, nbn=dict(placement='A')))))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(base.model.backbone)
    assert len(placed(model)) == 10 and isinstance(model.nbn, NBNOwner)
    assert set(model.nbn.groups) == {'layer4_0', 'layer4_1', 'layer4_2'}
