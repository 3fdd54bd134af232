"""The cosine classifier."""
import copy

import pytest
import torch
from mmengine.registry import MODELS

from nbn_mm.models.layers import CosineLinear, build_linear_predictor


@pytest.mark.parametrize('learn_scale', [False, True])
def test_value_and_gradient(learn_scale):
    layer = build_linear_predictor(dict(
        type='CosineLinear', in_features=5, out_features=3, scale=16, learn_scale=learn_scale)).double()
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    out = layer(x)
    for i in range(4):
        for j in range(3):
            w = layer.weight[j]
            cosine = sum(a * b for a, b in zip(x[i], w, strict=True)) / (x[i].pow(2).sum() * w.pow(2).sum()).sqrt()
            assert out[i, j].item() == pytest.approx(16 * cosine.item(), rel=1e-10)
    assert torch.autograd.gradcheck(lambda x, w: torch.func.functional_call(layer, dict(weight=w), (x, )),
                                    (x, layer.weight.detach().requires_grad_()))
    assert list(layer.state_dict()) == (['weight', 'scale'] if learn_scale else ['weight'])


def test_lengths_play_no_part():
    layer, x = CosineLinear(6, 4, scale=2.0), torch.randn(3, 6)
    long = copy.deepcopy(layer)
    with torch.no_grad():
        long.weight.mul_(torch.tensor([[1.0], [10.0], [0.01], [3.0]]))
    torch.testing.assert_close(layer(x), long(7 * x))
    assert layer(x).abs().max() <= 2 + 1e-5


def test_float32_under_autocast_and_for_half():
    """The square of 300 overflows float16."""
    layer, x = CosineLinear(64, 4), torch.full((2, 64), 300.0)
    expected = layer(x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = layer(x.bfloat16())
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, layer(x.bfloat16().float()), rtol=0, atol=0)
    torch.testing.assert_close(layer.half()(x.half()), expected, rtol=1e-3, atol=1e-3)


def test_zero_features_and_no_rows():
    layer = CosineLinear(5, 3)
    x = torch.zeros(2, 5, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.isfinite().all() and layer(torch.zeros(0, 5)).shape == (0, 3)


@pytest.mark.parametrize('scale', [0, -1.0, float('inf'), '30'])
def test_scale(scale):
    with pytest.raises(ValueError, match='change `head.predictor.scale`'):
        MODELS.build(dict(type='CosineLinear', in_features=5, out_features=3, scale=scale))
