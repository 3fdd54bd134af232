"""ResNet for CIFAR: published size, names, shortcuts, freezing."""
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from nbn_mm.models.backbones import CIFARResNet


def test_published_number_of_parameters():
    """He et al., 2016, table 6: ResNet-20 0.27 M, 32 0.46 M, 44 0.66 M, 56 0.85 M, 110 1.7 M, for 10 classes."""
    for depth, millions in ((20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.73)):
        number = sum(p.numel() for p in CIFARResNet(depth).parameters()) + 64 * 10 + 10
        assert round(number / 1e6, 2) == millions
    assert sum(p.numel() for p in CIFARResNet(32).parameters()) + 650 == 464154
    assert round(sum(p.numel() for p in CIFARResNet(32, 4).parameters()) / 1e6, 1) == 7.4


def test_names():
    model = MODELS.build(dict(type='CIFARResNet', depth=14))
    norms = [name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == ['bn1'] + [f'layer{i}.{j}.bn{k}' for i in (1, 2, 3) for j in (0, 1) for k in (1, 2)]
    convs = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    assert convs == [name.replace('bn', 'conv') for name in norms]
    assert model.norm1 is model.bn1 and model.layer3[1].norm2 is model.layer3[1].bn2
    assert model.res_layers == ['layer1', 'layer2', 'layer3']


def reference_forward(state, x, blocks):
    """The network in eval mode from its state dict, in functional calls."""

    def norm(x, key):
        return nn.functional.batch_norm(x, state[f'{key}.running_mean'], state[f'{key}.running_var'],
                                        state[f'{key}.weight'], state[f'{key}.bias'])

    x = norm(nn.functional.conv2d(x, state['conv1.weight'], padding=1), 'bn1').relu()
    outs = []
    for stage in (1, 2, 3):
        for block in range(blocks):
            key = f'layer{stage}.{block}'
            stride = 2 if stage > 1 and block == 0 else 1
            out = nn.functional.conv2d(x, state[f'{key}.conv1.weight'], stride=stride, padding=1)
            out = norm(out, f'{key}.bn1').relu()
            out = norm(nn.functional.conv2d(out, state[f'{key}.conv2.weight'], padding=1), f'{key}.bn2')
            shortcut = torch.zeros_like(out)
            pad = (out.size(1) - x.size(1)) // 2
            shortcut[:, pad:pad + x.size(1)] = x[:, :, ::stride, ::stride]
            x = (out + shortcut).relu()
        outs.append(x)
    return outs


def test_forward():
    model = CIFARResNet(14, width_multiplier=2, out_indices=(0, 1, 2)).double()
    model.init_weights()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(), m.running_var.uniform_(0.5, 2)
            nn.init.normal_(m.weight), nn.init.normal_(m.bias)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    outs = model.eval()(x)
    assert [tuple(out.shape) for out in outs] == [(2, 32, 16, 16), (2, 64, 8, 8), (2, 128, 4, 4)]
    for out, expected in zip(outs, reference_forward(model.state_dict(), x, 2), strict=True):
        torch.testing.assert_close(out, expected, rtol=1e-11, atol=1e-11)
    assert CIFARResNet(8).eval()(torch.randn(1, 3, 33, 17))[0].shape == (1, 64, 9, 5), 'odd sizes'


def test_kaiming_normal_by_fan_in():
    torch.manual_seed(0)
    model = CIFARResNet(32)
    model.init_weights()
    for name, m in model.named_modules():
        if isinstance(m, nn.Conv2d) and m.weight.numel() > 9000:
            assert abs(m.weight.std().item() / (2 / (m.in_channels * 9))**0.5 - 1) < 0.03, name


@pytest.mark.parametrize('stages', [-1, 0, 1, 3])
def test_frozen_stages(stages):
    model = CIFARResNet(8, frozen_stages=stages).train()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    expected = [n for n, _ in model.named_parameters()
                if n.startswith(('conv1', 'bn1')) and stages >= 0 or n[:6] in [f'layer{i + 1}' for i in range(stages)]]
    assert frozen == set(expected)
    assert model.bn1.training == (stages < 0) and model.layer3[0].bn1.training == (stages < 3)


def test_norm_eval():
    model = CIFARResNet(8, norm_eval=True).train()
    assert model.training and not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize('kwargs', [
    dict(depth=33), dict(depth=2), dict(width_multiplier=0), dict(width_multiplier=1.5), dict(out_indices=(3, )),
    dict(out_indices=()), dict(frozen_stages=4), dict(frozen_stages=-2)])
def test_bad_options(kwargs):
    (name, value), = kwargs.items()
    with pytest.raises(ValueError) as error:
        CIFARResNet(**kwargs)
    assert f'{name}={value}' in str(error.value) and f'`backbone.{name}`' in str(error.value)
