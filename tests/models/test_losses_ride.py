"""RIDE's loss and distillation against loops in float64; what the diversity term and its re-weighting do."""
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, DefaultScope
from references import ride as reference

from nbn_mm.datasets.class_counts import ClassCounts
from nbn_mm.models.losses import RIDELoss, expert_divergence, temperature_weights
from nbn_mm.models.losses.distillation_loss import DistillationLoss, distillation_loss
from nbn_mm.utils.hosts import host_error

COUNTS = [500, 60, 9, 2]
RECORD = ClassCounts(classes=tuple('abcd'), images=tuple(COUNTS))
LABELS = [0, 1, 0, 3, 2, 0]
BSL = dict(type='BalancedSoftmaxLoss', class_counts=COUNTS)
LDAM = dict(type='LDAMLoss', max_margin=0.5, scale=30, class_counts=COUNTS)


def logits(scale=3.0, experts=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(len(LABELS), experts, len(COUNTS), generator=generator, dtype=dtype)).requires_grad_()


def margin(label, j):
    return -30 * 0.5 * (COUNTS[label] / min(COUNTS))**-0.25 if j == label else 0.0


def prior(label, j):
    return math.log(COUNTS[j])


@pytest.mark.parametrize('reweight', [False, True])
@pytest.mark.parametrize(('base', 'shift'), [(BSL, prior), (LDAM, margin)], ids=['bsl', 'ldam'])
def test_value_and_gradient(base, shift, reweight):
    """Balanced Softmax and LDAM an expert, their re-weighting, the diversity term and its temperatures by class."""
    loss = RIDELoss(base, diversity_factor=-0.45, temperature=1.3, reweight_factor=0.05, class_counts=COUNTS)
    for module in loss.modules():  # as StageHook does
        if hasattr(module, 'set_reweighting'):
            module.set_reweighting(reweight)
    z = logits()
    weights = reference.effective_weights(COUNTS) if reweight and base is LDAM else None
    temperature = reference.temperatures(COUNTS, 0.05, 1.3) if reweight else [1.3] * 4
    expected, gradient = reference.ride(z.detach().numpy(), LABELS, -0.45, temperature, shift, weights)
    for avg_factor in (None, len(LABELS)):  # the head gives the number of images
        value = loss(z, torch.tensor(LABELS), avg_factor=avg_factor)
        z.grad = None
        value.backward()
        assert value.item() == pytest.approx(expected, rel=1e-10)
        np.testing.assert_allclose(z.grad.numpy(), gradient, rtol=1e-8, atol=1e-12)


def test_cross_entropy_of_the_host_as_base():
    if host_error('mmpretrain') is not None:
        pytest.skip('mmpretrain does not import')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loss = MODELS.build(dict(type='RIDELoss', base=dict(type='CrossEntropyLoss'), loss_weight=2.0))
    z = logits()
    expected, _ = reference.ride(z.detach().numpy(), LABELS, -0.2, [1.0] * 4)
    assert loss(z, torch.tensor(LABELS)).item() == pytest.approx(2 * expected, rel=1e-10)


def test_the_diversity_term_drives_experts_apart():
    """Gradient steps from the same start: with the term, the experts' distributions end farther from each other."""
    ends = []
    for factor in (-0.45, 0.0):
        loss = RIDELoss(BSL, diversity_factor=factor)
        z = logits(scale=0.5).detach().requires_grad_()
        for _ in range(40):
            z.grad = None
            loss(z, torch.tensor(LABELS)).backward()
            z = (z - 1.0 * z.grad).detach().requires_grad_()
        ends.append(expert_divergence(z.detach()).mean().item())
    assert ends[0] > 2 * ends[1]


def test_without_diversity_it_is_the_sum_of_the_experts_losses():
    z = logits()
    base = MODELS.build(BSL)
    expected = sum(base(z[:, k], torch.tensor(LABELS)) for k in range(3))
    assert torch.equal(RIDELoss(BSL, diversity_factor=0.0)(z, torch.tensor(LABELS)), expected)


def test_reweighting_lowers_the_temperature_of_rare_classes():
    found = temperature_weights(COUNTS, 0.05)
    np.testing.assert_allclose(found.numpy(), reference.temperatures(COUNTS, 0.05), rtol=1e-12)
    assert found.tolist() == sorted(found.tolist(), reverse=True) and found.max() == 1
    assert (temperature_weights(COUNTS, 0.0) == 1).all()
    loss = RIDELoss(BSL)
    loss.set_class_counts(RECORD)
    before = loss(logits(), torch.tensor(LABELS))
    loss.set_reweighting(True)
    assert not torch.equal(before, loss(logits(), torch.tensor(LABELS)))
    loss.set_reweighting(False)
    assert torch.equal(before, loss(logits(), torch.tensor(LABELS)))


def test_rows_weights_and_soft_labels():
    loss, z, labels = RIDELoss(BSL), logits(), torch.tensor(LABELS)
    rows = loss(z, labels, reduction_override='none')
    assert rows.shape == (6, ) and rows.mean().item() == pytest.approx(loss(z, labels).item())
    weight = torch.tensor([0.0, 1.0, 2.0, 0.5, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(loss(z, labels, weight=weight, avg_factor=4.0), (rows * weight).sum() / 4)
    soft = F.one_hot(labels, 4).double()
    torch.testing.assert_close(loss(z, soft), loss(z, labels))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    z = logits(scale=100.0, dtype=torch.float32).detach().to(dtype)
    loss = RIDELoss(BSL)
    assert loss(z, torch.tensor(LABELS)) == loss(z.float(), torch.tensor(LABELS)) and torch.isfinite(
        loss(z, torch.tensor(LABELS)))


def test_no_state_and_an_empty_batch():
    loss = RIDELoss(BSL, class_counts=COUNTS)
    assert not loss.state_dict()
    assert loss(logits()[:0], torch.tensor([], dtype=torch.long)) == 0


@pytest.mark.parametrize(('options', 'message'), [
    (dict(diversity_factor=0.2), r'diversity_factor=0.2 must be at most 0.*`head.loss.diversity_factor`'),
    (dict(temperature=0), 'temperature=0 must be a number above 0; change `head.loss.temperature`'),
    (dict(temperature=float('inf')), 'temperature=inf'),
    (dict(reweight_factor=1.0), 'reweight_factor=1.0 must be below 1; change `head.loss.reweight_factor`'),
    (dict(reweight_factor=-0.1), 'reweight_factor=-0.1'),
    (dict(reduction='average'), "reduction='average'"),
])
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RIDELoss(BSL, **options)


def test_refused_batches():
    loss = RIDELoss(BSL)
    with pytest.raises(ValueError, match=r'expects logits \(N, E, C\) of E experts, got shape \(6, 4\)'):
        loss(logits()[:, 0], torch.tensor(LABELS))
    loss.set_reweighting(True)
    with pytest.raises(RuntimeError, match='RIDELoss has no class counts. Add the hook'):
        loss(logits(), torch.tensor(LABELS))
    loss.set_class_counts(ClassCounts(classes=tuple('abc'), images=(3, 2, 1)))
    with pytest.raises(ValueError, match='got 4 logits, but class counts of 3 classes'):
        loss(logits(), torch.tensor(LABELS))


def test_distillation():
    own, teacher = logits()[:, 0].detach().requires_grad_(), logits(seed=1)[:, 0].detach()
    loss = DistillationLoss(temperature=1.5, loss_weight=2.0)
    value = loss(own, teacher)
    value.backward()
    expected, gradient = 0.0, np.zeros((6, 4))
    for i in range(6):
        p, q = (reference.softmax([z / 1.5 for z in rows[i].tolist()]) for rows in (teacher, own.detach()))
        expected += 2 * 1.5**2 / 6 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        gradient[i] = [2 * 1.5 / 6 * (b - a) for a, b in zip(p, q, strict=True)]
    assert value.item() == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(own.grad.numpy(), gradient, rtol=1e-8)
    assert distillation_loss(teacher, teacher, 1.5).item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match='temperature=0 must be a number above 0; change .head.distillation'):
        DistillationLoss(temperature=0)
    with pytest.raises(ValueError, match=r'the teacher gives logits of shape \(6, 3\), the student of \(6, 4\)'):
        loss(own, teacher[:, :3])
