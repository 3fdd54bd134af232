"""Experts on a shared stem: each path equals the host's network, bit by bit; widths, start, NBN, what is refused."""
import copy

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch.nn.modules.batchnorm import BatchNorm2d

from nbn_mm.models.layers import NBN
from nbn_mm.models.placement import fold
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')
CIFAR = dict(network='CIFARResNet', depth=8)
R18 = dict(network='ResNet', depth=18, base_channels=8, stem_channels=8)
NETWORKS = {
    'cifar': (CIFAR, 16),
    'resnet18': (R18, 32),
    'deep_stem': (dict(R18, deep_stem=True, avg_down=True), 32),
    'resnet50': (dict(network='ResNet', depth=50, base_channels=8, stem_channels=8), 32),
    'resnext50': (dict(network='ResNeXt', depth=50, groups=4, width_per_group=4, base_channels=8, stem_channels=8), 32),
    'small images': (dict(network='ResNet_CIFAR', depth=50, base_channels=8, stem_channels=8), 16),
}


def build(cfg, scope='mmpretrain', **options):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(dict(type='MultiExpertBackbone') | cfg | options)
    model.init_weights()
    return model


def build_plain(cfg, **options):
    cfg = {('type' if key == 'network' else key): value for key, value in (cfg | options).items()}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg)
    model.init_weights()
    return model


def images(size, number=3):
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(1))


def plain_state(state, expert):
    """The state dict of the network that is made of the shared stages and one expert."""
    return {key.split('.', 1 if key.startswith('shared.') else 2)[-1]: value for key, value in state.items()
            if key.startswith(('shared.', f'experts.{expert}.'))}


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('own', [1, 2])
def test_each_path_is_the_network_of_the_host(name, own):
    cfg, size = NETWORKS[name]
    model, plain, x = build(cfg, num_experts=2, own_stages=own), build_plain(cfg), images(size)
    for mode in (True, False):
        model.train(mode)
        plain.train(mode)
        outputs = model(x)
        assert len(outputs) == 2 and not torch.equal(outputs[0], outputs[1])
        for k, output in enumerate(outputs):
            plain.load_state_dict(plain_state(model.state_dict(), k), strict=True)  # every key, no other
            assert torch.equal(output, plain(x)[-1])


@pytest.mark.parametrize(('cfg', 'channels'), [
    (dict(network='CIFARResNet', depth=8), dict(layer2=(16, 24, 24), layer3=(24, 48, 48))),
    (dict(network='CIFARResNet', depth=8, width_multiplier=4), dict(layer2=(64, 96, 96), layer3=(96, 192, 192))),
    # published: 192 and 384 before the factor of four, in ResNeXt's groups as well
    (dict(network='ResNet', depth=50), dict(layer3=(512, 192, 768), layer4=(768, 384, 1536))),
    (dict(network='ResNeXt', depth=50), dict(layer3=(512, 384, 768), layer4=(768, 768, 1536))),
])
def test_reduced_widths_are_those_of_ride(cfg, channels):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(type='MultiExpertBackbone', num_experts=1, reduce_dimension=True) | cfg)
    expert = model.experts[0]
    for stage, (entry, middle, out) in channels.items():
        block = getattr(expert, stage)[0]
        last = getattr(block, 'conv3', block.conv2)
        assert (block.conv1.in_channels, block.conv2.out_channels, last.out_channels) == (entry, middle, out)
    assert not [name for name, _ in expert.named_parameters() if not name.startswith(tuple(channels))]


@pytest.mark.parametrize('cfg', [CIFAR, R18], ids=['cifar', 'resnet18'])
def test_reduced_networks_learn(cfg):
    model = build(cfg, num_experts=2, reduce_dimension=True)
    outputs = model(images(32))
    assert outputs[0].shape[1] == 48
    sum(output.square().mean() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_start_is_the_hosts_and_differs_between_experts():
    model = build(R18, num_experts=2)
    assert all((module.weight == 0).all() for name, module in model.named_modules() if name.endswith('layer4.0.bn2'))
    first, second = (model.experts[k].layer3[0].conv1.weight for k in (0, 1))
    assert not torch.equal(first, second)
    fan_out = first.shape[0] * 9  # Kaiming's, as the host has it for convolutions
    assert first.std().item() == pytest.approx((2 / fan_out)**0.5, rel=0.1)


def test_pretrained_weights_go_to_all(tmp_path):
    plain = build_plain(CIFAR)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(torch.randn_like(parameter))
    path = str(tmp_path / 'plain.pth')
    torch.save(plain.state_dict(), path)
    model = build(CIFAR, num_experts=2, init_cfg=dict(type='Pretrained', checkpoint=path))
    expected = plain.eval()(images(16))[-1]
    for output in model.eval()(images(16)):
        torch.testing.assert_close(output, expected, rtol=0, atol=0)


def test_frozen_stages_and_norm_eval():
    model = build(R18, num_experts=2, frozen_stages=1, norm_eval=True).train()
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith(('shared.conv1', 'shared.bn1', 'shared.layer1')) for name in learns)
    assert any(name.startswith('shared.layer2') for name in learns) and any('experts.1.layer4' in n for n in learns)
    assert not any(module.training for module in model.modules() if isinstance(module, BatchNorm2d))


def nbn(cfg, **options):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(type='NBNBackbone', base='MultiExpertBackbone') | cfg | options)


@pytest.mark.parametrize(('placement', 'norms'), [('A', ('bn1', 'bn2', 'downsample.1')),
                                                  ('paper', ('bn2', 'downsample.1'))])
def test_nbn_with_one_magnitude_an_expert(placement, norms):
    model = nbn(R18, num_experts=3, nbn=dict(placement=placement, share=r'experts\.(\d+)\.'))
    model.init_weights()
    layers = {name: module for name, module in model.named_modules() if isinstance(module, NBN)}
    assert set(layers) == {f'experts.{k}.layer4.{i}.{norm}' for k in range(3) for i in range(2) for norm in norms
                           if i == 0 or 'down' not in norm}
    assert {key for key in model.state_dict() if 'magnitude' in key} == {f'nbn.magnitudes.{k}' for k in range(3)}
    x = images(32)
    before = [output.detach() for output in model.train()(x)]
    with torch.no_grad():
        getattr(model.nbn.magnitudes, '1').mul_(3.0)
    after = model(x)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]
    copied = copy.deepcopy(model).eval()(x)
    for a, b in zip(model.eval()(x), copied, strict=True):
        assert torch.equal(a, b)


def test_fold_gives_plain_experts():
    model = nbn(CIFAR, num_experts=2, nbn=dict(placement='A', share=r'experts\.(\d+)\.'))
    model.train()(images(16))
    folded, report = fold(model.eval())
    assert len(report.norms) == 4 and not any(isinstance(module, NBN) for module in folded.modules())
    assert folded.state_dict().keys() == build(CIFAR, num_experts=2).state_dict().keys()
    for a, b in zip(model(images(16)), folded(images(16)), strict=True):
        assert torch.equal(a, b)


def test_stages_are_counted_over_shared_and_own_ones():
    for stage, prefixes in ((-1, ('experts.0.layer4', 'experts.1.layer4')),
                            (3, ('experts.0.layer3', 'experts.1.layer3')), (1, ('shared.layer1', ))):
        model = nbn(R18, num_experts=2, nbn=dict(placement='A', stages=(stage, )))
        names = [name for name, module in model.named_modules() if isinstance(module, NBN)]
        assert {next(prefix for prefix in prefixes if name.startswith(prefix)) for name in names} == set(prefixes)
    with pytest.raises(ValueError, match=r'has 4 stages \(shared.layer1, shared.layer2, experts.0.layer3 \+ '):
        nbn(R18, num_experts=2, nbn=dict(placement='A', stages=(5, )))


@pytest.mark.parametrize(('options', 'error', 'message'), [
    (dict(num_experts=0), ValueError, 'backbone.num_experts=0 must be an integer of at least 1'),
    (dict(num_experts=2.0), ValueError, 'backbone.num_experts=2.0'),
    (dict(own_stages=3), ValueError, "backbone.own_stages=3 must be an integer from 1 to 2: 'CIFARResNet' has 3"),
    (dict(own_stages=0), ValueError, 'backbone.own_stages=0'),
    (dict(frozen_stages=2), ValueError, 'backbone.frozen_stages=2 must be at most 1'),
    (dict(network='VGG', depth=11), ValueError, "backbone.network='VGG' builds a VGG without residual stages"),
    (dict(network='ResNot'), KeyError, "backbone.network='ResNot' is not in the registry"),
    (dict(reduce_dimension=True, base_channels=6), ValueError, 'three quarters of backbone.base_channels=6'),
    (dict(reduce_dimension=True, init_cfg=dict(type='Pretrained', checkpoint='x')), ValueError,
     'backbone.reduce_dimension=True does not go with'),
])
def test_refused(options, error, message):
    with pytest.raises(error, match=message):
        build(CIFAR, **options)
