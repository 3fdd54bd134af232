"""ALA against loops in float64."""
import pytest
import torch
from count_losses import COUNTS, check, inputs, loss_module
from references import adjusted_losses as reference

from nbn_mm.models.losses.adaptive_logit_adjustment_loss import quantity_factors


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('reduction', ['none', 'mean'])
def test_value_and_gradient(soft, reduction):
    """The reference takes the adjustment as a constant: no gradient goes through it."""
    logits, target = inputs(soft=soft, scale=20)
    loss = loss_module('AdaptiveLogitAdjustmentLoss', scale=20)
    check(loss(logits, target, reduction_override=reduction), logits, reference.loss_and_gradient(
        logits.detach().numpy(), target.tolist(),
        lambda z, label, i, k: reference.ala(z, label, COUNTS, 20.0), reduction=reduction))


def test_quantity_factors():
    torch.testing.assert_close(quantity_factors([7, 21, 49]), torch.tensor([1, 1 / 2, 1 / 3], dtype=torch.float64))
    assert quantity_factors([3, 3]).tolist() == [1, 1]


def test_hard_images_and_rare_classes_are_lowered_more():
    """Of two images of a class the harder one gets the larger margin; so does the rarer of two classes."""
    loss = loss_module('AdaptiveLogitAdjustmentLoss', scale=1)

    def margin(label, cosine):
        logits = torch.zeros(1, 4, dtype=torch.float64)
        logits[0, label] = cosine
        value = loss(logits, torch.tensor([label]))
        return cosine - (torch.log(3 / torch.expm1(value))).item()

    assert margin(3, 0.9) == pytest.approx(0.05) and margin(3, -0.8) == pytest.approx(0.9)
    assert margin(0, -0.8) < margin(2, -0.8) < margin(3, -0.8)


def test_options():
    with pytest.raises(ValueError, match='AdaptiveLogitAdjustmentLoss: scale=0 .*`head.loss.scale`'):
        loss_module('AdaptiveLogitAdjustmentLoss', scale=0)
