"""DisAlign's predictor against loops in float64."""
import copy

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from references.classifier_adjustment import disalign
from torch import nn

from nbn_mm.models.layers import DisAlignPredictor

PARTS = ('weight', 'bias', 'scale_offset', 'shift', 'confidence_weight', 'confidence_bias')


def build(**kwargs):
    predictor = MODELS.build(dict(type='DisAlignPredictor', in_features=5, out_features=3, **kwargs))
    assert type(predictor) is DisAlignPredictor
    return predictor


def calibrated(seed=0):
    """A predictor in float64 whose parts are all random, and features."""
    torch.manual_seed(seed)
    predictor = build().double()
    for parameter in predictor.parameters():
        nn.init.normal_(parameter)
    return predictor, torch.randn(4, 5, dtype=torch.float64)


def reference(parts, x):
    weight, bias, offset, shift, v, b = (part.tolist() for part in parts)
    return disalign(x.tolist(), weight, bias, [1 + o for o in offset], shift, v[0], b[0])


def test_values_and_gradients():
    predictor, x = calibrated()
    out = predictor(x)
    parts = [getattr(predictor, name).detach().clone() for name in PARTS]
    np.testing.assert_allclose(out.detach().numpy(), reference(parts, x), rtol=1e-12)
    factors = torch.randn(4, 3, dtype=torch.float64)
    (out * factors).sum().backward()
    for index, name in enumerate(PARTS):  # central differences of the loops
        grad = getattr(predictor, name).grad
        for position in np.ndindex(*parts[index].shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [part.clone() for part in parts]
                moved[index][position] += step
                ends.append(float((torch.tensor(reference(moved, x), dtype=torch.float64) * factors).sum()))
            assert float(grad[position]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-7)


def test_a_fresh_calibration_is_the_identity_to_the_bit_and_can_learn():
    torch.manual_seed(0)
    predictor, x = build(), torch.randn(6, 5)
    plain = nn.Linear(5, 3)
    missing = predictor.load_state_dict(plain.state_dict(), strict=False)
    assert sorted(missing.missing_keys) == sorted(PARTS[2:]) and not missing.unexpected_keys
    assert torch.equal(predictor(x), plain(x))
    optimizer = torch.optim.SGD([getattr(predictor, name) for name in PARTS[2:]], lr=0.5)
    for _ in range(2):  # the confidence gets a gradient once scale or shift have moved
        optimizer.zero_grad()
        nn.functional.cross_entropy(predictor(x), torch.tensor([0, 1, 2, 0, 1, 2])).backward()
        optimizer.step()
    assert all(getattr(predictor, name).abs().max() > 0 for name in PARTS[2:])


def test_the_confidence_decides_image_by_image():
    """Fails if the calibration becomes one affine map of each class."""
    predictor, x = calibrated()
    plain = nn.functional.linear(x, predictor.weight, predictor.bias)
    change = (predictor(x) - plain) / (predictor.scale_offset * plain + predictor.shift)
    torch.testing.assert_close(change, change[:, :1].expand(-1, 3))  # one confidence an image
    assert change[:, 0].max() - change[:, 0].min() > 0.1
    assert (change > 0).all() and (change < 1).all()


def test_copies_and_bias():
    predictor, x = calibrated()
    assert torch.equal(copy.deepcopy(predictor)(x), predictor(x))
    assert build(bias=False).bias is None


@pytest.mark.parametrize('wrapped', ['DisAlignPredictor'])
def test_rectification_over_it_is_refused(wrapped):
    with pytest.raises(ValueError, match=f"base='{wrapped}' does not go with logit rectification.*takes out"):
        MODELS.build(dict(type='RectifiedPredictor', base=wrapped, in_features=5, out_features=3))
