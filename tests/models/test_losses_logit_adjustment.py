"""Logit adjustment against loops in float64."""
import pytest
import torch
from count_losses import COUNTS, check, inputs, loss_module
from references import adjusted_losses as reference

from nbn_mm.models.losses import logit_adjustment_loss


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('tau', [0.0, 1.0, 1.7])
def test_value_and_gradient(soft, tau):
    logits, target = inputs(soft=soft)
    check(loss_module('LogitAdjustmentLoss', tau=tau)(logits, target), logits, reference.loss_and_gradient(
        logits.detach().numpy(), target.tolist(),
        lambda z, label, i, k: reference.logit_adjustment(z, label, COUNTS, tau)))


def test_tau_of_1_is_balanced_softmax_and_0_cross_entropy():
    logits, target = inputs()
    assert loss_module('LogitAdjustmentLoss')(logits, target) == loss_module('BalancedSoftmaxLoss')(logits, target)
    torch.testing.assert_close(
        loss_module('LogitAdjustmentLoss', tau=0.0)(logits, target), torch.nn.functional.cross_entropy(logits, target))
    assert loss_module('LogitAdjustmentLoss', tau=2.0)(logits, target) == logit_adjustment_loss(
        logits, target, COUNTS, tau=2.0)


@pytest.mark.parametrize('tau', [0.0, 2.0])
def test_a_class_without_images_is_left_out(tau):
    logits, _ = inputs()
    loss = loss_module('LogitAdjustmentLoss', [50, 0, 7, 3], tau=tau, zero_count='ignore')
    loss(logits, torch.tensor([0, 2, 3, 0, 2, 3, 3])).backward()
    assert logits.grad.isfinite().all() and not logits.grad[:, 1].any()


def test_options():
    with pytest.raises(ValueError, match='tau=-1 must be a number of at least 0; change `head.loss.tau`'):
        loss_module('LogitAdjustmentLoss', tau=-1)
    assert 'tau=2' in repr(loss_module('LogitAdjustmentLoss', tau=2))
