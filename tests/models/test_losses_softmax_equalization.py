"""Softmax EQL against loops in float64, given the same draws."""
import pytest
import torch
from count_losses import COUNTS, check, inputs, loss_module
from references import adjusted_losses as reference

from nbn_mm.models.losses.softmax_equalization_loss import rare_classes

OPTIONS = dict(threshold=0.2, gamma=0.6)


@pytest.mark.parametrize('soft', [False, True])
def test_value_and_gradient(soft):
    logits, target = inputs(soft=soft)
    torch.manual_seed(5)
    loss = loss_module('SoftmaxEqualizationLoss', **OPTIONS)(logits, target)
    torch.manual_seed(5)
    pairs = int((target > 0).sum()) if soft else 7
    draws = torch.rand(pairs, 4).tolist()
    check(loss, logits, reference.loss_and_gradient(
        logits.detach().numpy(), target.tolist(),
        lambda z, label, i, k: reference.eql(z, label, COUNTS, 0.2, 0.6, draws[k])))


def test_rare_classes_by_their_share():
    assert rare_classes(COUNTS, 0.2).tolist() == [False, True, True, True]
    assert rare_classes([50, 25, 25], 0.25).tolist() == [False, False, False]  # not below
    assert rare_classes([50, 25, 0], 0.01).tolist() == [False, False, True]


def test_frequent_classes_do_not_push_down_rare_ones():
    """gamma of 1: no gradient of rows of other classes reaches the rare classes, all of their own does."""
    logits = torch.zeros(4, 4, requires_grad=True)
    loss_module('SoftmaxEqualizationLoss', threshold=0.2, gamma=1.0)(logits, torch.arange(4)).backward()
    rare = logits.grad[:, 1:]
    assert not rare[0].any() and (rare[1:] != 0).float().sum() == 3 and (rare[1:].diagonal() < 0).all()
    assert (logits.grad[1:, 0] > 0).all()


def test_share_of_draws():
    loss = loss_module('SoftmaxEqualizationLoss', threshold=0.2, gamma=0.9)
    logits = torch.zeros(20000, 4, requires_grad=True)
    torch.manual_seed(0)
    loss(logits, torch.zeros(20000, dtype=torch.long), reduction_override='sum').backward()
    assert (logits.grad[:, 1:] == 0).float().mean(0).tolist() == pytest.approx([0.9] * 3, abs=0.01)


def test_cross_entropy_in_eval_mode_and_with_gamma_0():
    logits, target = inputs()
    plain = torch.nn.functional.cross_entropy(logits, target)
    assert loss_module('SoftmaxEqualizationLoss', threshold=0.2).eval()(logits, target) == plain
    assert loss_module('SoftmaxEqualizationLoss', threshold=0.2, gamma=0.0)(logits, target) == plain


def test_options():
    for option in (dict(threshold=1.5), dict(threshold=-1), dict(gamma=1.1), dict(gamma=None)):
        name = next(iter(option))
        with pytest.raises(ValueError, match=f'SoftmaxEqualizationLoss: {name}=.*`head.loss.{name}`'):
            loss_module('SoftmaxEqualizationLoss', **option)
    with pytest.raises(ValueError, match="name1.*zero_count='ignore'"):
        loss_module('SoftmaxEqualizationLoss', [5, 0])
    assert loss_module('SoftmaxEqualizationLoss', [5, 0], zero_count='ignore')(
        torch.randn(2, 2), torch.tensor([0, 0])).isfinite()
