"""LWS against its derivation, loading of a linear classifier, folding, and what it refuses."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from references.weight_scaling import loss_and_gradients, scaled_logits
from torch import nn

from nbn_mm.models.layers import LearnableWeightScaling, RectifiedPredictor
from nbn_mm.models.placement import fold, fold_model_config


def layer_and_inputs(dtype=torch.float64):
    torch.manual_seed(0)
    layer = LearnableWeightScaling(5, 3).to(dtype)
    layer.scales.data = torch.tensor([0.3, 1.7, -0.4], dtype=dtype)
    return layer, torch.randn(4, 5, dtype=dtype, requires_grad=True), torch.tensor([0, 2, 1, 2])


def test_values_and_gradients():
    layer, x, labels = layer_and_inputs()
    logits = layer(x)
    F.cross_entropy(logits, labels).backward()
    arrays = [part.detach().numpy() for part in (x, layer.weight, layer.bias, layer.scales)]
    np.testing.assert_allclose(logits.detach().numpy(), scaled_logits(*arrays), rtol=1e-12)
    loss, by_scale, by_x = loss_and_gradients(*arrays, labels.tolist())
    assert F.cross_entropy(logits, labels).item() == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(layer.scales.grad.numpy(), by_scale, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), by_x, rtol=1e-9, atol=1e-12)


def test_a_linear_checkpoint_loads_and_the_network_begins_as_it_was():
    linear, layer = nn.Linear(5, 3), LearnableWeightScaling(5, 3)
    missing = layer.load_state_dict(linear.state_dict(), strict=False)
    assert missing.missing_keys == ['scales'] and not missing.unexpected_keys
    x = torch.randn(4, 5)
    assert torch.equal(layer(x), linear(x))


@pytest.mark.parametrize('bias', [True, False])
def test_scales_fold_into_a_linear_layer(bias):
    torch.manual_seed(0)
    layer = LearnableWeightScaling(5, 3, bias=bias)
    layer.scales.data = torch.tensor([0.3, 1.7, 0.4])
    folded, report = fold(nn.Sequential(nn.Identity(), layer))
    assert type(folded[1]) is nn.Linear and (folded[1].bias is not None) == bias
    assert report.classifiers == ['1'] and not report.remaining
    x = torch.randn(16, 5)
    torch.testing.assert_close(folded(x), layer(x), rtol=1e-5, atol=1e-6)
    cfg = fold_model_config(dict(type='LongTailClsHead', num_classes=3, in_channels=5, loss=dict(type='X'),
                                 predictor=dict(type='LearnableWeightScaling', bias=bias)))
    assert cfg.get('predictor') == (None if bias else dict(type='Linear', bias=False))


def test_logit_rectification_over_it_is_refused():
    with pytest.raises(ValueError, match="base='LearnableWeightScaling' does not go with logit rectification"):
        RectifiedPredictor(base='LearnableWeightScaling', in_features=5, out_features=3)
