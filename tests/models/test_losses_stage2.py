"""Label-aware smoothing and generalized re-weight against loops in float64."""
import copy

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from references.classifier_adjustment import reweighted_loss, smoothed_loss, smoothing

from nbn_mm.datasets import ClassCounts
from nbn_mm.models.losses import (
    GeneralizedReweightLoss,
    LabelAwareSmoothingLoss,
    generalized_reweight,
    generalized_reweight_loss,
    label_aware_smoothing,
    label_aware_smoothing_loss,
)

COUNTS = [500, 60, 7, 1]
TYPES = ('LabelAwareSmoothingLoss', 'GeneralizedReweightLoss')


def loss_module(kind, counts=COUNTS, **kwargs):
    loss = MODELS.build(dict(type=kind, **kwargs))
    loss.set_class_counts(ClassCounts([f'name{i}' for i in range(len(counts))], counts))
    return loss


def inputs(soft=False, rows=6, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(rows, 4, generator=generator, dtype=torch.float64) * 3).to(dtype).requires_grad_()
    if soft:
        return logits, torch.softmax(torch.randn(rows, 4, generator=generator, dtype=torch.float64), 1)
    return logits, torch.randint(4, (rows, ), generator=generator)


def reduced(losses, gradients, weight, reduction):
    weight = np.ones(len(losses)) if weight is None else weight.double().numpy()
    losses, gradients = np.array(losses) * weight, np.array(gradients) * weight[:, None]
    if reduction == 'none':
        return losses, gradients
    divisor = len(losses) if reduction == 'mean' else 1
    return losses.sum() / divisor, gradients / divisor


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('form', ['others', 'all', 'reweight'])
def test_values_and_gradients(form, weighted, soft, reduction):
    logits, target = inputs(soft)
    weight = torch.rand(6, generator=torch.Generator().manual_seed(1)) if weighted else None
    if form == 'reweight':
        loss = generalized_reweight_loss(logits, target, generalized_reweight(COUNTS, 1.2), 4, weight, reduction)
        expected = reweighted_loss(logits.tolist(), target.tolist(), COUNTS, 1.2)
    else:
        eps = label_aware_smoothing(COUNTS, 0.4, 0.1)
        loss = label_aware_smoothing_loss(logits, target, eps, weight, reduction, spread=form)
        expected = smoothed_loss(logits.tolist(), target.tolist(), smoothing(COUNTS, 0.4, 0.1, 'concave'), form)
    loss.sum().backward()
    value, gradient = reduced(*expected, weight, reduction)
    np.testing.assert_allclose(loss.detach().numpy(), value, rtol=1e-12)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize('shape', ['concave', 'linear', 'convex'])
def test_smoothing_grows_with_the_count(shape):
    """Fails if all classes are smoothed alike."""
    eps = label_aware_smoothing(COUNTS, 0.3, 0.05, shape)
    np.testing.assert_allclose(eps.numpy(), smoothing(COUNTS, 0.3, 0.05, shape), rtol=1e-12)
    assert eps[0] == pytest.approx(0.3) and eps[3] == pytest.approx(0.05) and (eps[:-1] > eps[1:]).all()


def test_shapes_are_ordered_and_equal_counts_are_plain_smoothing():
    concave, linear, convex = (label_aware_smoothing([100, 40, 1], 0.3, 0.0, s)[1]
                               for s in ('concave', 'linear', 'convex'))
    assert concave > linear > convex
    logits, target = inputs()
    equal = label_aware_smoothing_loss(logits, target, label_aware_smoothing([9] * 4, 0.3, 0.0), spread='all')
    torch.testing.assert_close(equal, torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.3))


def test_rho_interpolates_between_cross_entropy_and_inverse_frequency():
    """Fails if the weights do not depend on the counts."""
    assert torch.equal(generalized_reweight(COUNTS, 0.0), torch.ones(4, dtype=torch.float64))
    weights = generalized_reweight(COUNTS, 1.0)
    torch.testing.assert_close(weights * torch.tensor(COUNTS), (weights[0] * 500).expand(4))
    assert weights.sum() == pytest.approx(4)
    assert generalized_reweight(COUNTS, 1.5)[3] > weights[3]


@pytest.mark.parametrize('kind', TYPES)
def test_module_and_stages(kind):
    logits, target = inputs(dtype=torch.float32)
    loss = loss_module(kind)
    assert type(loss) in (LabelAwareSmoothingLoss, GeneralizedReweightLoss)
    plain = torch.nn.functional.cross_entropy(logits, target)
    on = loss(logits, target)
    loss.set_reweighting(False) if kind == TYPES[1] else setattr(loss, 'active', False)
    torch.testing.assert_close(loss(logits, target), plain)
    assert abs(float(on - plain)) > 0.01
    assert not loss.state_dict() and not list(loss.buffers())
    assert torch.equal(copy.deepcopy(loss)(logits, target), loss(logits, target))
    assert float(loss_module(kind, loss_weight=0.5)(logits, target)) == pytest.approx(0.5 * float(on))


@pytest.mark.parametrize('kind', TYPES)
def test_ignored_rows_half_precision_and_empty_batches(kind):
    loss = loss_module(kind)
    logits, target = inputs(dtype=torch.float32)
    padded = torch.cat([target, torch.tensor([-100])])
    with_ignored = loss(torch.cat([logits, torch.full((1, 4), 7.0)]), padded)
    torch.testing.assert_close(with_ignored, loss(logits, target))
    assert loss(logits * 100, target).isfinite()
    half = loss(logits.detach().half(), target)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(logits.detach().half().float(), target))
    assert float(loss(logits[:0], target[:0])) == 0


@pytest.mark.parametrize('kind, options, message', [
    (TYPES[0], dict(shape='exp'), "shape='exp' must be one of"),
    (TYPES[0], dict(spread='none'), "spread='none' must be one of"),
    (TYPES[0], dict(head=0.1, tail=0.2), 'head=0.1 and tail=0.2'),
    (TYPES[0], dict(head=1.0), 'head=1.0'),
    (TYPES[1], dict(rho=-1), 'rho=-1 must be'),
    (TYPES[1], dict(rho=float('nan')), 'rho=nan'),
    (TYPES[1], dict(class_counts=[3, 0]), 'GeneralizedReweightLoss: no training images for 1 of 2 classes'),
    (TYPES[0], dict(class_counts=[3, 0]), 'LabelAwareSmoothingLoss: no training images for 1 of 2'),
    (TYPES[0], dict(reduction='max'), "reduction='max'"),
])
def test_bad_options(kind, options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type=kind, **options))


@pytest.mark.parametrize('kind', TYPES)
def test_bad_calls(kind):
    logits, target = inputs()
    with pytest.raises(RuntimeError, match=f'{kind} has no class counts.*ClassCountsHook'):
        MODELS.build(dict(type=kind))(logits, target)
    with pytest.raises(ValueError, match='got 4 logits, but class counts of 3 classes'):
        loss_module(kind, counts=[3, 2, 1])(logits, target)
    with pytest.raises(ValueError, match='label 4 is outside of the 4 classes'):
        loss_module(kind)(logits, target.clone().fill_(4))
    with pytest.raises(ValueError, match='avg_factor does not go with'):
        loss_module(kind)(logits, target, avg_factor=2.0, reduction_override='sum')
    with pytest.raises(ValueError, match='class 1 has 0 training images'):
        generalized_reweight([3, 0], 1.0)
