"""GCL against loops in float64, given the same noise."""
import pytest
import torch
from count_losses import COUNTS, check, inputs, loss_module
from references import adjusted_losses as reference

from nbn_mm.models.losses.gaussian_clouded_logit_loss import cloud_sizes, gaussian_clouded_logit_loss


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('margin', [0.0, 0.1])
def test_value_and_gradient(soft, margin):
    logits, target = inputs(soft=soft, scale=30)
    torch.manual_seed(3)
    loss = loss_module('GaussianCloudedLogitLoss', margin=margin)(logits, target)
    torch.manual_seed(3)
    noise = torch.randn(7, 4).tolist()
    check(loss, logits, reference.loss_and_gradient(
        logits.detach().numpy(), target.tolist(),
        lambda z, label, i, k: reference.gcl(z, label, COUNTS, 30.0, 0.5, margin, noise[i])), rtol=1e-6)


def test_noise_is_clamped():
    logits, target = inputs(scale=30)
    noise = 100 * torch.randn(7, 4, dtype=torch.float64)
    check(gaussian_clouded_logit_loss(logits, target, cloud_sizes(COUNTS), noise), logits, reference.loss_and_gradient(
        logits.detach().numpy(), target.tolist(),
        lambda z, label, i, k: reference.gcl(z, label, COUNTS, 30.0, 0.5, 0.0, noise[i].tolist())))


def test_cloud_sizes():
    sizes = cloud_sizes([1000, 100, 10])
    torch.testing.assert_close(sizes, torch.tensor([0, 0.5, 1], dtype=torch.float64))
    assert cloud_sizes([4, 4]).tolist() == [0, 0]


def test_rare_classes_keep_their_gradient():
    """An image of the rarest class whose logit leads still pulls; one of the most frequent class is saturated."""
    logits = (torch.eye(4) * 15).requires_grad_()
    loss = loss_module('GaussianCloudedLogitLoss')
    torch.manual_seed(0)
    for _ in range(200):
        loss(logits, torch.arange(4)).backward()
    pull = -logits.grad.diagonal()
    assert pull[3] > 100 * pull[0]


def test_no_noise_in_eval_mode():
    logits, target = inputs(scale=30)
    plain = torch.nn.functional.cross_entropy(logits, target)
    loss = loss_module('GaussianCloudedLogitLoss')
    state = torch.get_rng_state()
    assert loss.eval()(logits, target) == plain and torch.equal(torch.get_rng_state(), state)
    assert loss.train()(logits, target) != loss(logits, target)


@pytest.mark.parametrize('option', [dict(scale=-1), dict(noise_factor=-0.1), dict(margin='no')])
def test_options(option):
    name = next(iter(option))
    with pytest.raises(ValueError, match=f'GaussianCloudedLogitLoss: {name}=.*`head.loss.{name}`'):
        loss_module('GaussianCloudedLogitLoss', **option)
