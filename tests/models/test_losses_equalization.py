"""EQL against loops in float64."""
import copy
import json

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from references.equalization import eql, sigmoid

from nbn_mm.datasets import ClassCounts
from nbn_mm.models.losses import EqualizationLoss, equalization_loss

IMAGES = [60, 9, 10, 0, 1]  # of 100: with a threshold of 0.1 the classes 1, 3 and 4 are rare
LABELS = torch.tensor([0, 1, 5, 3, 5, 2])


def loss_module(**kwargs):
    return MODELS.build(dict(type='EqualizationLoss', num_classes=5, threshold=0.1, num_images=100, **kwargs))


def with_counts(**kwargs):
    loss = loss_module(**kwargs)
    loss.set_class_counts(ClassCounts('abcde', IMAGES))
    return loss


def logits(dtype=torch.float64, scale=3.0):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(6, 5, generator=generator, dtype=torch.float64) * scale).to(dtype).requires_grad_()


def reference(z, weights=None, shift=0.0):
    rows = (z.detach().double() + shift).tolist()
    return eql(rows, LABELS.tolist(), [n / 100 for n in IMAGES], 0.1, weights)


@pytest.mark.parametrize('weights', [None, [1.0, 0.5, 2.0, 0.0, 1.0, 3.0]])
def test_value(weights):
    z = logits()
    weight = None if weights is None else torch.tensor(weights)
    rows = reference(z, weights)
    total = sum(rows)
    for reduction, avg_factor, expected in (('none', None, rows), ('sum', None, total), ('mean', None, total / 6),
                                            ('mean', 4.0, total / 4), ('none', 4.0, rows)):
        value = with_counts()(z, LABELS, weight, avg_factor=avg_factor, reduction_override=reduction)
        np.testing.assert_allclose(value.detach().numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(with_counts(loss_weight=2.0)(z, LABELS, weight).item(), sum(rows) / 3, rtol=1e-12)


def test_gradient_spares_rare_classes_from_other_foreground_only():
    z = logits()
    with_counts()(z, LABELS, reduction_override='sum').backward()
    p = torch.sigmoid(z.detach())
    rare = torch.tensor([False, True, False, True, True])
    for i, label in enumerate(LABELS.tolist()):
        for j in range(5):
            spared = label < 5 and rare[j] and j != label
            expected = 0.0 if spared else p[i, j] - float(j == label)
            assert z.grad[i, j] == pytest.approx(float(expected), abs=1e-12)


def test_a_class_at_the_threshold_is_not_rare():
    loss = with_counts()
    assert loss._rare.tolist() == [False, True, False, True, True]


@pytest.mark.parametrize('shift, prior_prob', [(0.0, None), (-6.906754778648554, 0.001)])
def test_inference_scores(shift, prior_prob):
    z = logits()
    scores = loss_module(prior_prob=prior_prob).get_activation(z.detach())
    expected = [[sigmoid(value + shift) for value in row] + [0.0] for row in z.tolist()]
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-12)
    rows = reference(z, shift=shift)
    np.testing.assert_allclose(with_counts(prior_prob=prior_prob)(z, LABELS).item(), sum(rows) / 6, rtol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_float32_inside_also_under_autocast(dtype):
    z = logits(dtype, scale=30.0)
    rows = reference(z)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = with_counts()(z, LABELS)
        scores = loss_module().get_activation(z.detach())
    assert loss.dtype == scores.dtype == torch.float32
    np.testing.assert_allclose(loss.item(), sum(rows) / 6, rtol=1e-5)
    loss.backward()
    assert torch.isfinite(z.grad).all()


def test_no_proposals():
    z = torch.zeros(0, 5, requires_grad=True)
    loss = with_counts()(z, LABELS[:0], torch.zeros(0), avg_factor=1.0)
    loss.backward()
    assert loss.item() == 0 and z.grad.shape == (0, 5)
    assert with_counts().get_accuracy(z, LABELS[:0])['acc_classes'] == 0
    assert loss_module().get_activation(z.detach()).shape == (0, 6)


def test_accuracy_of_the_foreground():
    z = torch.full((6, 5), -1.0)
    z[[0, 1, 3, 5], [0, 1, 2, 2]] = 1.0  # proposal 3 is of class 3
    assert with_counts().get_accuracy(z, LABELS)['acc_classes'] == 75


def test_counts_and_number_of_images(tmp_path):
    path = tmp_path / 'counts.json'
    path.write_text(json.dumps(IMAGES))
    z = logits()
    expected = with_counts()(z, LABELS)
    for counts in (IMAGES, str(path)):
        loss = loss_module(class_counts=counts)
        loss.set_class_counts(ClassCounts('abcde', [100] * 5))
        torch.testing.assert_close(loss(z, LABELS), expected)
    loss = EqualizationLoss(5, threshold=0.1)
    loss.set_class_counts(ClassCounts('abcde', IMAGES, num_images=100))
    torch.testing.assert_close(loss(z, LABELS), expected)
    assert not list(loss.state_dict()) and copy.deepcopy(loss)._rare.tolist() == loss._rare.tolist()
    with pytest.raises(ValueError, match='without the number of images. Set `loss_cls.num_images`'):
        EqualizationLoss(5, class_counts=IMAGES)
    with pytest.raises(ValueError, match='num_images=50 is less than the 60 images'):
        EqualizationLoss(5, class_counts=IMAGES, num_images=50)
    with pytest.raises(ValueError, match='num_classes=5, but the training set has 2'):
        loss.set_class_counts(ClassCounts('ab', [1, 2]))
    with pytest.raises(RuntimeError, match='ClassCountsHook'):
        loss_module()(z, LABELS)


def test_bad_options_and_input():
    for options, field in ((dict(threshold=1.5), 'threshold'), (dict(prior_prob=0.0), 'prior_prob'),
                           (dict(prior_prob=1), 'prior_prob')):
        with pytest.raises(ValueError, match=f'loss_cls.{field}'):
            EqualizationLoss(5, **options)
    with pytest.raises(ValueError, match=r'bbox_head.num_classes=7, but loss_cls.num_classes=5'):
        loss_module().get_cls_channels(7)
    assert loss_module().get_cls_channels(5) == 5
    loss = with_counts()
    with pytest.raises(ValueError, match=r'expects logits \(N, 5\), background having none'):
        loss(torch.zeros(6, 6), LABELS)
    with pytest.raises(ValueError, match='labels from 0 to 6, but there are 5 classes'):
        loss(logits(), LABELS + (LABELS == 5))
    with pytest.raises(ValueError, match="reduction='max'"):
        loss(logits(), LABELS, reduction_override='max')
    with pytest.raises(ValueError, match='avg_factor does not go with'):
        equalization_loss(logits(), LABELS, torch.zeros(5, dtype=torch.bool), avg_factor=3, reduction='sum')
