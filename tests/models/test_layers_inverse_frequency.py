"""Classifiers with inverse image frequency against loops."""
import copy
import math

import numpy as np
import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS
from torch import nn

from nbn_mm.datasets import ClassCounts
from nbn_mm.datasets.class_priors import inverse_image_frequency
from nbn_mm.engine.hooks import CheckpointGuardHook
from nbn_mm.models.layers import (
    CosineLinear,
    InverseFrequencyCosineLinear,
    InverseFrequencyLinear,
    LearnableWeightScaling,
)
from nbn_mm.models.placement import fold
from nbn_mm.models.placement.fold_config import fold_model_config

COUNTS = [400, 30, 2]
KINDS = dict(raw=lambda n: math.log(432 / n), smooth=lambda n: math.log(433 / (n + 1)) + 1)
TYPES = ('InverseFrequencyLinear', 'InverseFrequencyCosineLinear')


def record(counts=COUNTS):
    return ClassCounts([f'name{i}' for i in range(len(counts))], counts)


def build(kind='InverseFrequencyLinear', counts=COUNTS, iif='smooth', **kwargs):
    torch.manual_seed(0)
    predictor = MODELS.build(dict(type=kind, in_features=5, out_features=3, kind=iif, **kwargs))
    if counts:
        predictor.set_class_counts(record(counts))
    return predictor


@pytest.mark.parametrize('kind', ['raw', 'smooth'])
def test_weights_against_loops(kind):
    weights = inverse_image_frequency(COUNTS, kind)
    np.testing.assert_allclose(weights, [KINDS[kind](n) for n in COUNTS], rtol=1e-14)
    assert weights[0] < weights[1] < weights[2]


@pytest.mark.parametrize('mode', ['train', 'eval'])
@pytest.mark.parametrize('kind', ['raw', 'smooth'])
def test_linear_values_and_gradients(kind, mode):
    predictor = build(iif=kind).double()
    predictor.set_class_counts(record())
    getattr(predictor, mode)()
    x = torch.randn(4, 5, dtype=torch.float64)
    factors = torch.randn(4, 3, dtype=torch.float64)
    (predictor(x) * factors).sum().backward()
    weight, bias = predictor.weight.tolist(), predictor.bias.tolist()
    for row, got, _factor in zip(x.tolist(), predictor(x).tolist(), factors.tolist(), strict=True):
        expected = [KINDS[kind](n) * (sum(a * b for a, b in zip(w, row, strict=True)) + b0)
                    for n, w, b0 in zip(COUNTS, weight, bias, strict=True)]
        assert got == pytest.approx(expected, rel=1e-12)
    bias_grad = [KINDS[kind](n) * float(factors[:, j].sum()) for j, n in enumerate(COUNTS)]
    weight_grad = [[KINDS[kind](n) * sum(float(factors[i, j] * x[i, d]) for i in range(4)) for d in range(5)]
                   for j, n in enumerate(COUNTS)]
    assert predictor.bias.grad.tolist() == pytest.approx(bias_grad, rel=1e-12)
    np.testing.assert_allclose(predictor.weight.grad.numpy(), weight_grad, rtol=1e-12)


def test_cosine():
    predictor = build(TYPES[1], scale=16.0)
    plain = CosineLinear(5, 3, scale=16.0)
    missing = plain.load_state_dict(predictor.state_dict(), strict=False)
    assert missing.unexpected_keys == ['frequency_weights'] and not missing.missing_keys
    x = torch.randn(4, 5)
    expected = plain(x) * torch.tensor([KINDS['smooth'](n) for n in COUNTS])
    torch.testing.assert_close(predictor(x), expected)


def test_the_ranking_changes_for_the_tail():
    """Fails if the logits are not weighted: equal positive logits then tie."""
    predictor = build()
    nn.init.zeros_(predictor.weight)
    nn.init.ones_(predictor.bias)
    assert predictor(torch.randn(2, 5)).argmax(1).tolist() == [2, 2]
    predictor.active = False
    assert torch.equal(predictor(torch.randn(2, 5)), torch.ones(2, 3))


@pytest.mark.parametrize('kind', TYPES)
def test_stages_and_checkpoints(kind):
    torch.manual_seed(1)
    x = torch.randn(4, 5)
    first = build(kind, active=False)
    plain = copy.deepcopy(first)
    assert torch.equal(first.frequency_weights, torch.ones(3))
    unweighted = first(x)
    first.active = True  # what StageHook sets
    torch.testing.assert_close(first(x), unweighted * first.frequency_weights)
    assert not torch.equal(first.frequency_weights, torch.ones(3))

    tested = build(kind, counts=None, active=False)  # the config of the run says active=False
    tested.load_state_dict(first.state_dict())
    assert not tested.class_counts_at_test
    tested.set_class_counts(record([1, 1, 1]))
    assert torch.equal(tested(x), first(x))

    post_hoc = build(kind, counts=None)  # a checkpoint without weights, tested with IIF
    state = {key: value for key, value in plain.state_dict().items() if key != 'frequency_weights'}
    post_hoc.load_state_dict(state)
    CheckpointGuardHook().check_for_test(nn.Sequential(post_hoc), {f'0.{key}': state[key] for key in state}, 'here')
    assert post_hoc.class_counts_at_test
    post_hoc.set_class_counts(record())
    assert torch.equal(post_hoc(x), first(x))


def test_a_checkpoint_of_the_time_before_holds_no_weights():
    waiting = build(active=False).state_dict()
    predictor = build(counts=None)
    predictor.load_state_dict(waiting)
    assert predictor.class_counts_at_test
    with pytest.raises(RuntimeError, match='has no class counts'):
        predictor(torch.randn(2, 5))


def test_averaged_models_keep_the_weights():
    predictor = build(counts=None, active=False)
    averaged = ExponentialMovingAverage(predictor, momentum=0.5)
    predictor.set_class_counts(record())
    predictor.active = True
    averaged.update_parameters(predictor)
    averaged.update_parameters(predictor)
    assert torch.equal(averaged.module.frequency_weights, predictor.frequency_weights)


def test_folding_into_a_linear_layer():
    predictor = build().double()
    x = torch.randn(4, 5, dtype=torch.float64)
    folded, report = fold(nn.Sequential(predictor))
    assert type(folded[0]) is nn.Linear and report.classifiers == ['0'] and not report.remaining
    torch.testing.assert_close(folded(x), predictor(x))
    config = fold_model_config(dict(type='InverseFrequencyLinear', kind='raw', active=False, bias=False))
    assert config == dict(type='Linear', bias=False)
    with pytest.raises(RuntimeError, match='has no class counts'):
        fold(nn.Sequential(build(counts=None)))
    _, report = fold(nn.Sequential(build(TYPES[1]), LearnableWeightScaling(3, 3)))
    assert 'InverseFrequencyCosineLinear is defined by' in report.remaining['0']


@pytest.mark.parametrize('kind', TYPES)
def test_bad_input(kind):
    with pytest.raises(ValueError, match="kind='log' must be one of"):
        build(kind, iif='log')
    with pytest.raises(RuntimeError, match=f'{kind} has no class counts.*ClassCountsHook'):
        build(kind, counts=None)(torch.randn(2, 5))
    with pytest.raises(ValueError, match='of 3 classes got class counts of 2'):
        build(kind, counts=[3, 2])
    with pytest.raises(ValueError, match='class 1 has 0'):
        build(kind, counts=[3, 0, 1])
    with pytest.raises(ValueError, match='does not go with logit rectification.*takes out its factor'):
        MODELS.build(dict(type='RectifiedPredictor', base=kind, in_features=5, out_features=3))
    assert InverseFrequencyLinear.refuses_rectification == InverseFrequencyCosineLinear.refuses_rectification


@pytest.mark.parametrize('counts', [[], [3, -1], [[1, 2]], [float('nan')]])
def test_bad_counts(counts):
    with pytest.raises(ValueError, match='needs the training images of each class'):
        inverse_image_frequency(counts)
