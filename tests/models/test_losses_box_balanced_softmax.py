"""Balanced Softmax of box heads against loops in float64, with background as the last class."""
import copy

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from references.balanced_softmax import loss_and_gradient

from nbn_mm.datasets import ClassCounts
from nbn_mm.models.losses import BoxBalancedSoftmaxLoss, count_with_background

IMAGES = [300, 0, 20, 1]
INSTANCES = [2000, 0, 90, 1]
LABELS = torch.tensor([0, 2, 4, 3, 4, 4])


def with_counts(**kwargs):
    loss = MODELS.build(dict(type='BoxBalancedSoftmaxLoss', **kwargs))
    loss.set_class_counts(ClassCounts('abcd', IMAGES, INSTANCES))
    return loss


def logits(dtype=torch.float64, scale=3.0):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(6, 5, generator=generator, dtype=torch.float64) * scale).to(dtype).requires_grad_()


@pytest.mark.parametrize('options, counts', [
    (dict(), [*IMAGES, 107]),
    (dict(count='instances'), [*INSTANCES, 697]),
    (dict(background_count='sum'), [*IMAGES, 321]),
    (dict(background_count=2.5), [*IMAGES, 2.5]),
    (dict(class_counts=[1, 0, 2, 3]), [1, 0, 2, 3, 2]),
    (dict(class_counts=[1, 0, 2, 3], count='instances'), [1, 0, 2, 3, 2]),
])
@pytest.mark.parametrize('weights', [None, [1.0, 0.5, 2.0, 0.0, 1.0, 3.0]])
def test_value_and_gradient(options, counts, weights):
    weight = None if weights is None else torch.tensor(weights)
    for avg_factor in (None, 4.0):
        z = logits()
        loss = with_counts(loss_weight=2.0, **options)(z, LABELS, weight, avg_factor=avg_factor)
        loss.backward()
        expected, gradient = loss_and_gradient(z.detach().numpy(), LABELS.tolist(), counts, weights,
                                               avg_factor=avg_factor)
        np.testing.assert_allclose(loss.item(), 2 * expected, rtol=1e-12)
        np.testing.assert_allclose(z.grad.numpy(), 2 * gradient, rtol=1e-11, atol=1e-14)
        assert not z.grad[:, 1].any(), 'a class without data is not pushed down'


def test_mean_keeps_the_balance_of_background_and_all_classes():
    """Fitted to label frequencies alone: softmax without the shift has background's share, and equal classes."""
    counts = np.array([300, 40, 20])
    share = np.array([*counts / counts.sum() * 0.25, 0.75])  # of the proposals
    z = np.log(share) - np.log(count_with_background(counts))  # where the loss is least
    p = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(p, [0.25 / 3, 0.25 / 3, 0.25 / 3, 0.75])
    z = np.log(share) - np.log(count_with_background(counts, 'sum'))
    p = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(p[3] / p[0], 3.0, err_msg='as likely as each class, but for the 3:1 of the sampler')


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_float32_inside_also_under_autocast(dtype):
    z = logits(dtype, scale=30.0)
    expected, _ = loss_and_gradient(z.detach().double().numpy(), LABELS.tolist(), [*IMAGES, 107])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = with_counts()(z, LABELS)
    assert loss.dtype == torch.float32
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-5)
    loss.backward()
    assert torch.isfinite(z.grad).all()


def test_no_proposals_and_other_reductions():
    z = torch.zeros(0, 5, requires_grad=True)
    loss = with_counts()(z, LABELS[:0], torch.zeros(0), avg_factor=1.0)
    loss.backward()
    assert loss.item() == 0 and z.grad.shape == (0, 5)
    z = logits()
    rows = with_counts()(z, LABELS, avg_factor=4.0, reduction_override='none')
    assert rows.shape == (6, )
    torch.testing.assert_close(rows.sum(), with_counts()(z, LABELS, reduction_override='sum'))


def test_counts_come_late_and_add_no_buffer():
    loss = BoxBalancedSoftmaxLoss()
    with pytest.raises(RuntimeError, match='ClassCountsHook'):
        loss(logits(), LABELS)
    loss.set_class_counts(ClassCounts('abcd', IMAGES))
    assert not list(loss.state_dict()) and not list(loss.buffers())
    torch.testing.assert_close(copy.deepcopy(loss)(logits(), LABELS), loss(logits(), LABELS))
    assert BoxBalancedSoftmaxLoss.class_counts_at_test is False


def test_bad_options_and_input():
    with pytest.raises(ValueError, match="count='boxes' must be one of"):
        BoxBalancedSoftmaxLoss(count='boxes')
    for value in (0, -1.0, 'max', None):
        with pytest.raises(ValueError, match=f'background_count={value!r}.*loss_cls.background_count'):
            BoxBalancedSoftmaxLoss(background_count=value)
    with pytest.raises(ValueError, match='hold no instances.*loss_cls.count'):
        BoxBalancedSoftmaxLoss(count='instances').set_class_counts(ClassCounts('abcd', IMAGES))
    with pytest.raises(ValueError, match='all 2 class counts are 0'):
        BoxBalancedSoftmaxLoss().set_class_counts(ClassCounts('ab', [0, 0]))
    with pytest.raises(ValueError, match='holds 2 classes, but the training set has 4'):
        with_counts(class_counts=[1, 2])
    with pytest.raises(ValueError, match='counts of 4 classes and background, but the box head gives 7 logits'):
        with_counts()(torch.zeros(6, 7), LABELS)
    with pytest.raises(ValueError, match=r'class 1 \(b\), whose class count is 0'):
        with_counts()(logits(), LABELS.clamp(max=1))


def test_counts_by_name_are_put_in_label_order():
    given = dict(d=1, c=20, b=0, a=300)
    assert torch.equal(with_counts(class_counts=given)._log_prior, with_counts(class_counts=IMAGES)._log_prior)
    record = ClassCounts('badc', [0, 300, 1, 20], [0, 2000, 1, 90]).to_dict()
    loss = with_counts(class_counts=record, count='instances')
    assert torch.equal(loss._log_prior, with_counts(count='instances')._log_prior)
    with pytest.raises(ValueError, match=r"`class_counts` of BoxBalancedSoftmaxLoss.*missing \['d'\]"):
        with_counts(class_counts=dict(a=1, b=2, c=3, x=4))
