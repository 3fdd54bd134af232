"""LDAM and deferred re-weighting against loops in float64."""
import copy

import pytest
import torch
from count_losses import COUNTS, check, inputs, loss_module
from references import adjusted_losses as reference

from nbn_mm.models.losses.ldam_loss import ldam_loss, ldam_margins


def expected(logits, target, reweighted, average='weights', scale=30.0, **kwargs):
    return reference.loss_and_gradient(
        logits.detach().numpy(), target.tolist(),
        lambda z, label, i, k: reference.ldam(z, label, COUNTS, scale, 0.5),
        reference.effective_weights(COUNTS, 0.9999) if reweighted else None, average, **kwargs)


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('reweighted', [False, True])
def test_value_and_gradient(reduction, soft, reweighted):
    logits, target = inputs(soft=soft, scale=30)
    loss = loss_module('LDAMLoss')
    loss.set_reweighting(reweighted)
    check(loss(logits, target, reduction_override=reduction), logits,
          expected(logits, target, reweighted, reduction=reduction))


@pytest.mark.parametrize('average', ['rows', 'weights'])
def test_average_weights_and_ignored_rows(average):
    logits, target = inputs(scale=10)
    target[[1, 4]] = 255
    weight = torch.rand(7)
    loss = loss_module('LDAMLoss', scale=10, average=average, ignore_index=255)
    loss.set_reweighting(True)
    check(loss(logits, target, weight), logits, expected(
        logits, target, True, average, 10.0, weight=weight.double().tolist(), ignore_index=255))


def test_published_form():
    """With the divisor that heads give, re-weighting is torch's weighted mean of the cosine times s with margins."""
    logits, target = inputs(scale=30)
    loss = loss_module('LDAMLoss')
    loss.set_reweighting(True)
    margins, weights = loss.vectors(logits)
    cosine = logits / 30 - margins * torch.nn.functional.one_hot(target, 4)
    torch.testing.assert_close(
        loss(logits, target, avg_factor=7), torch.nn.functional.cross_entropy(30 * cosine, target, weight=weights))


def test_margins():
    margins = ldam_margins([16, 1, 81], 0.6)
    torch.testing.assert_close(margins, torch.tensor([0.3, 0.6, 0.2], dtype=torch.float64))


def test_the_margin_is_the_rare_class_s():
    """Without margins it would be cross entropy; they raise the loss of the rare class the most."""
    logits = torch.zeros(4, 4)
    losses = loss_module('LDAMLoss')(logits, torch.arange(4), reduction_override='none')
    plain = torch.nn.functional.cross_entropy(logits, torch.arange(4), reduction='none')
    assert (losses - plain > 0.5).all() and (losses.diff() > 0.5).all()


def test_reweighting_turns_on_and_off():
    logits, target = inputs(scale=30)
    loss = loss_module('LDAMLoss')
    before = loss(logits, target)
    loss.set_reweighting(True)
    weighted = loss(logits, target)
    assert abs(before - weighted) > 0.1
    assert copy.deepcopy(loss)(logits, target) == weighted and 'reweighting=True' in repr(loss)
    loss.set_reweighting(False)
    assert loss(logits, target) == before


def test_function_without_class_weights():
    logits, target = inputs()
    check(ldam_loss(logits, target, torch.zeros(4)), logits, reference.loss_and_gradient(
        logits.detach().numpy(), target.tolist(), lambda z, *_: z))


@pytest.mark.parametrize('option', [dict(max_margin=-0.1), dict(scale=0), dict(scale='30'), dict(beta=1.0),
                                    dict(average='mean')])
def test_options(option):
    name, value = next(iter(option.items()))
    with pytest.raises(ValueError, match=f'LDAMLoss: {name}={value!r}.*`head.loss.{name}`'):
        loss_module('LDAMLoss', **option)
