"""Class-balanced loss and effective numbers against loops in float64."""
import numpy as np
import pytest
import torch
from count_losses import COUNTS, check, inputs, loss_module
from references import adjusted_losses as reference

from nbn_mm.models.losses.effective_number import effective_number_weights


@pytest.mark.parametrize('beta', [0.0, 0.9, 0.9999])
def test_effective_number(beta):
    np.testing.assert_allclose(
        effective_number_weights(COUNTS, beta).numpy(), reference.effective_weights(COUNTS, beta), rtol=1e-10)


def test_limits_of_beta():
    assert effective_number_weights([9, 2, 7], 0.0).tolist() == [1.0] * 3
    inverse = 1 / torch.tensor([900.0, 20.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(effective_number_weights([900, 20, 3], 1 - 1e-12), 3 * inverse / inverse.sum())


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('average', ['rows', 'weights'])
def test_value_and_gradient(soft, gamma, average):
    logits, target = inputs(soft=soft)
    weight = torch.rand(7)
    loss = loss_module('ClassBalancedLoss', gamma=gamma, average=average)
    check(loss(logits, target, weight, avg_factor=3.0), logits, reference.loss_and_gradient(
        logits.detach().numpy(), target.tolist(), lambda z, *_: z, reference.effective_weights(COUNTS, 0.9999), average,
        gamma, weight.double().tolist(), avg_factor=3.0))


def test_rare_classes_weigh_more():
    losses = loss_module('ClassBalancedLoss')(torch.zeros(4, 4), torch.arange(4), reduction_override='none')
    assert (losses[1:] / losses[:-1] > 5).all()


@pytest.mark.parametrize('gamma', [0.5, 2.0])
def test_focal_form_where_an_image_is_certain(gamma):
    """1 - p underflows: the loss and its gradient are 0, not NaN."""
    logits = torch.tensor([[200.0, 0, 0, 0]], requires_grad=True)
    loss = loss_module('ClassBalancedLoss', gamma=gamma)(logits, torch.tensor([0]))
    loss.backward()
    assert loss == 0 and not logits.grad.any()


def test_deferred():
    logits, target = inputs()
    loss = loss_module('ClassBalancedLoss', deferred=True)
    assert loss(logits, target) == torch.nn.functional.cross_entropy(logits, target)
    loss.set_reweighting(True)
    assert loss(logits, target) == loss_module('ClassBalancedLoss')(logits, target)


def test_options():
    for option in (dict(beta=1), dict(beta=-0.1), dict(gamma=-1), dict(average='sum')):
        with pytest.raises(ValueError, match='ClassBalancedLoss'):
            loss_module('ClassBalancedLoss', **option)
    with pytest.raises(ValueError, match='class 1 has 0 training images'):
        effective_number_weights([3, 0])
    with pytest.raises(ValueError, match='beta=1'):
        effective_number_weights([3, 1], 1.0)
