"""Balanced Softmax against loops in float64."""
import copy
import json
import math

import numpy as np
import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS
from references.balanced_softmax import loss_and_gradient
from torch._dynamo.testing import CompileCounter

from nbn_mm.datasets import ClassCounts
from nbn_mm.models.losses import BalancedSoftmaxLoss, balanced_softmax_loss, log_class_prior

COUNTS = [500, 60, 7, 1]


def record(counts=COUNTS):
    return ClassCounts([f'name{i}' for i in range(len(counts))], counts)


def loss_module(counts=COUNTS, **kwargs):
    loss = MODELS.build(dict(type='BalancedSoftmaxLoss', **kwargs))
    loss.set_class_counts(record(counts))
    return loss


def inputs(rows=6, classes=4, dtype=torch.float64, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale).to(dtype)
    return logits.requires_grad_(), torch.randint(classes, (rows, ), generator=generator)


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('weighted', [False, True])
def test_value_and_gradient(reduction, soft, weighted):
    logits, target = inputs()
    if soft:
        target = torch.softmax(torch.randn(6, 4, dtype=torch.float64), 1)
    weight = torch.rand(6) if weighted else None
    loss = balanced_softmax_loss(logits, target, COUNTS, weight, reduction)
    loss.sum().backward()
    weights = None if weight is None else weight.double().tolist()
    expected, gradient = loss_and_gradient(logits.detach().numpy(), target.tolist(), COUNTS, weights, reduction)
    np.testing.assert_allclose(loss.detach().numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=1e-11, atol=1e-14)


def test_balanced_counts_are_cross_entropy():
    logits, target = inputs()
    torch.testing.assert_close(
        balanced_softmax_loss(logits, target, [9] * 4), torch.nn.functional.cross_entropy(logits, target))


@pytest.mark.parametrize('avg_factor', [None, 2.5])
def test_ignore_index(avg_factor):
    logits, target = inputs()
    target[[1, 4]] = 255
    loss = balanced_softmax_loss(logits, target, COUNTS, ignore_index=255, avg_factor=avg_factor)
    loss.backward()
    expected, gradient = loss_and_gradient(
        logits.detach().numpy(), target.tolist(), COUNTS, ignore_index=255, avg_factor=avg_factor)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-12)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize('soft', [False, True])
def test_no_rows_and_all_ignored_give_zero_with_a_graph(soft):
    logits = torch.randn(0, 4, requires_grad=True)
    target = torch.zeros(0, 4) if soft else torch.zeros(0, dtype=torch.long)
    loss = balanced_softmax_loss(logits, target, COUNTS)
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == (0, 4)
    logits = torch.randn(3, 4, requires_grad=True)
    loss = balanced_softmax_loss(logits, torch.full((3, ), -100), COUNTS)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('soft', [False, True])
def test_float32_inside(dtype, soft):
    """Counts and logits whose exponentials overflow float16."""
    counts = [10**7, 3 * 10**5, 40, 1]
    logits, target = inputs(dtype=dtype, scale=20.0)
    if soft:
        target = torch.softmax(torch.randn(6, 4), 1)
    loss = balanced_softmax_loss(logits, target, counts)
    assert loss.dtype == torch.float32
    expected, gradient = loss_and_gradient(logits.detach().double().numpy(), target.tolist(), counts)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-5)
    loss.backward()
    rtol = dict(rtol=1e-5, atol=1e-6) if dtype == torch.float32 else dict(rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(logits.grad.double().numpy(), gradient, **rtol)


def test_autocast_keeps_float32():
    logits, target = inputs(dtype=torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = balanced_softmax_loss(logits, target, COUNTS)
    torch.testing.assert_close(loss, balanced_softmax_loss(logits, target, COUNTS), rtol=0, atol=0)


@pytest.mark.parametrize('soft', [False, True])
def test_zero_count_ignore_leaves_the_class_out(soft):
    counts = [50, 0, 7, 3]
    logits, _ = inputs()
    target = torch.tensor([0, 2, 3, 0, 2, 3])
    if soft:
        target = torch.nn.functional.one_hot(target, 4).double() * 0.7
        target[:, 0] += 0.3
    loss = loss_module(counts, zero_count='ignore')(logits, target)
    loss.backward()
    expected, gradient = loss_and_gradient(logits.detach().numpy(), target.tolist(), counts)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-12)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=1e-11, atol=1e-14)
    assert not logits.grad[:, 1].any()


def test_zero_count_is_refused_by_name():
    with pytest.raises(ValueError, match=r"2 of 4 classes: name1, name3.*zero_count='ignore'"):
        loss_module([5, 0, 7, 0])
    with pytest.raises(ValueError, match='4 of 4 classes'):
        loss_module([0, 0, 0, 0], zero_count='ignore')
    with pytest.raises(ValueError, match='1 of 3 classes: 2'):
        BalancedSoftmaxLoss(class_counts=[4, 3, 0])


@pytest.mark.parametrize('soft', [False, True])
def test_target_of_a_class_without_images(soft):
    target = torch.tensor([0, 1])
    if soft:
        target = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])
    with pytest.raises(ValueError, match=r'class 1 \(name1\), whose class count is 0'):
        loss_module([50, 0, 7, 3], zero_count='ignore')(torch.randn(2, 4), target)
    with pytest.raises(ValueError, match='class 1, whose class count is 0'):
        balanced_softmax_loss(torch.randn(2, 4), target, [50, 0, 7, 3])


@pytest.mark.parametrize('label', [4, -1])
def test_labels_outside_the_classes(label):
    with pytest.raises(ValueError, match=f'label {label} is outside of the 4 classes.*head.num_classes'):
        loss_module()(torch.randn(2, 4), torch.tensor([0, label]))


def test_lengths_and_shapes():
    with pytest.raises(ValueError, match='columns of soft labels follow `data_preprocessor.num_classes`'):
        loss_module()(torch.randn(2, 4), torch.full((2, 10), 0.1))
    with pytest.raises(ValueError, match=r'5 logits, but class counts of 4 classes. Change `head.num_classes`'):
        loss_module()(torch.randn(2, 5), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r'got shape \(4,\)'):
        loss_module()(torch.randn(4), torch.tensor([0, 1]))
    for target in (torch.tensor([0, 1, 2]), torch.zeros(2), torch.zeros(2, 4, dtype=torch.long)):
        with pytest.raises(ValueError, match='expects labels'):
            loss_module()(torch.randn(2, 4), target)


def test_options():
    logits, target = inputs()
    with pytest.raises(ValueError, match="zero_count='drop'"):
        BalancedSoftmaxLoss(zero_count='drop')
    with pytest.raises(ValueError, match="reduction='max'"):
        BalancedSoftmaxLoss(reduction='max')
    with pytest.raises(ValueError, match="reduction='max'"):
        loss_module()(logits, target, reduction_override='max')
    with pytest.raises(ValueError, match='avg_factor does not go with'):
        loss_module()(logits, target, avg_factor=3, reduction_override='sum')
    full = loss_module()(logits, target, reduction_override='none')
    assert full.shape == (6, )
    torch.testing.assert_close(loss_module(loss_weight=2.0)(logits, target), 2 * full.mean())
    torch.testing.assert_close(loss_module(reduction='sum')(logits, target), full.sum())


def test_no_counts_shows_the_line_of_the_hook():
    with pytest.raises(RuntimeError) as error:
        BalancedSoftmaxLoss()(torch.randn(2, 4), torch.tensor([0, 1]))
    assert "default_hooks = dict(class_counts=dict(type='ClassCountsHook'))" in str(error.value)


def test_own_counts_override_the_hook(tmp_path):
    path = tmp_path / 'counts.json'
    path.write_text(json.dumps([1, 2, 3, 4]))
    logits, target = inputs()
    for counts in ([1, 2, 3, 4], str(path)):
        loss = BalancedSoftmaxLoss(class_counts=counts)
        loss.set_class_counts(record())
        torch.testing.assert_close(loss(logits, target), balanced_softmax_loss(logits, target, [1, 2, 3, 4]))
    with pytest.raises(ValueError, match='holds 4 classes, but the training set has 3'):
        loss.set_class_counts(record([1, 2, 3]))
    with pytest.raises(FileNotFoundError, match='`class_counts` of BalancedSoftmaxLoss'):
        BalancedSoftmaxLoss(class_counts=str(tmp_path / 'none.json'))


def test_counts_change_no_key_and_no_buffer():
    """mmengine's averaged models pair buffers by order: the copy was made before the counts came."""
    model = torch.nn.Sequential(BalancedSoftmaxLoss(), torch.nn.BatchNorm1d(3))
    average = ExponentialMovingAverage(model, momentum=0.5)
    before = list(model.state_dict())
    model[0].set_class_counts(record())
    assert list(model.state_dict()) == before and not [n for n, _ in model.named_buffers() if n.startswith('0.')]
    model[1](torch.randn(4, 3))
    average.update_parameters(model)
    torch.testing.assert_close(average.module[1].running_mean, model[1].running_mean)
    assert copy.deepcopy(model)[0].class_counts == record()


def test_log_class_prior():
    prior = log_class_prior([3, 1, 0])
    assert prior.dtype == torch.float64 and prior[2] == -math.inf
    torch.testing.assert_close(prior[:2].exp(), torch.tensor([0.75, 0.25], dtype=torch.float64))


def test_compiles():
    loss = loss_module()
    logits, target = inputs(dtype=torch.float32)
    compiled = torch.compile(loss, backend='eager')
    torch.testing.assert_close(compiled(logits, target), loss(logits, target))


def test_labels_of_the_first_batches_are_checked_on_an_accelerator():
    loss = loss_module()
    checked = [loss._checks_target('cuda') for _ in range(20)]
    assert checked == [True] * loss.CHECKED_BATCHES + [False] * (20 - loss.CHECKED_BATCHES)
    assert loss._checks_target('cpu')


def test_counting_batches_compiles_nothing_anew():
    loss, counter = loss_module(), CompileCounter()
    compiled = torch.compile(lambda x: x + loss._checks_target('cuda'), backend=counter, fullgraph=True)
    assert [float(compiled(torch.ones(()))) for _ in range(20)] == [1.] * 20
    assert counter.frame_count == 1
