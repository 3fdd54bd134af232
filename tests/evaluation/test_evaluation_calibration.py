import math

import numpy as np
import pytest
import torch
from references import shot_metrics as reference

from nbn_mm.evaluation.functional import (
    calibration_bins,
    expected_calibration_error,
    shot_group_calibration_error,
)


def random_case(num=300, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(num, generator=generator).to(dtype)
    return confidence, torch.rand(num, generator=generator) < confidence.float()**2


@pytest.mark.parametrize('num_bins', [1, 2, 10, 15, 100])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32, torch.float64])
def test_equals_the_slow_derivation(dtype, num_bins):
    confidence, correct = random_case(dtype=dtype)
    if dtype == torch.bfloat16:  # many of its values would lie on an edge that the reference computes in float64
        confidence = (confidence.float() * 0.98 + 0.0037).to(dtype)
    value = expected_calibration_error(confidence, correct, num_bins)
    expected = reference.calibration_error(confidence.tolist(), correct.tolist(), num_bins)
    assert value == pytest.approx(expected, abs=1e-9)
    assert 0 < value < 100


@pytest.mark.parametrize('num_bins', [5, 15])
def test_equals_torchmetrics(num_bins):
    classification = pytest.importorskip('torchmetrics.classification', reason='torchmetrics is the reference')
    generator = torch.Generator().manual_seed(1)
    scores = (3 * torch.randn(500, 6, generator=generator)).softmax(1)
    labels = torch.randint(6, (500, ), generator=generator)
    theirs = classification.MulticlassCalibrationError(6, n_bins=num_bins, norm='l1')(scores, labels)
    confidence, predicted = scores.max(1)
    ours = expected_calibration_error(confidence, predicted == labels, num_bins)
    assert ours == pytest.approx(100 * float(theirs), rel=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
def test_bin_edges_belong_to_the_bin_below(dtype):
    confidence = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], dtype=dtype)
    images, sums, hits = calibration_bins(confidence, [1, 1, 0, 1, 0, 1], num_bins=5)
    assert images.tolist() == [2, 1, 1, 1, 1]
    assert hits.tolist() == [2, 0, 1, 0, 1]
    np.testing.assert_allclose(sums, [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-3)
    assert expected_calibration_error(confidence, [1, 1, 0, 1, 0, 1], 5) == pytest.approx(
        reference.calibration_error([0, 0.2, 0.4, 0.6, 0.8, 1.0], [1, 1, 0, 1, 0, 1], 5), abs=0.05)


def test_extremes():
    assert expected_calibration_error([1.0, 1.0], [1, 1]) == 0
    assert expected_calibration_error([1.0, 1.0], [0, 0]) == 100
    assert expected_calibration_error([0.0], [0]) == 0
    assert expected_calibration_error(torch.tensor([1 + 1e-6]), [1]) == 0  # softmax may exceed 1 by rounding
    assert expected_calibration_error([1, 0], [1, 0]) == 0  # integers


def test_groups_follow_the_true_class():
    confidence, correct = random_case()
    labels = torch.randint(4, (300, ), generator=torch.Generator().manual_seed(3))
    result = shot_group_calibration_error(confidence, correct, labels, [500, 200, 50, 5])
    assert list(result) == ['all', 'many', 'medium', 'few']
    few = labels == 3
    assert result['few'] == pytest.approx(
        reference.calibration_error(confidence[few].tolist(), correct[few].tolist(), 15), abs=1e-9)
    assert result['all'] == expected_calibration_error(confidence, correct)


def test_groups_without_images_are_absent():
    assert list(shot_group_calibration_error([0.5], [1], [0], [500, 50])) == ['all', 'many']


@pytest.mark.parametrize('confidence, correct, message', [
    ([0.5, math.nan], [1, 1], 'confidence nan of test image 1'),
    ([3.5], [1], r'confidence 3\.5 of test image 0 is no probability'),
    ([-0.1], [1], r'-0\.1'),
    ([], [], 'no test images'),
    ([0.5], [1, 0], 'one shape'),
])
def test_refused(confidence, correct, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(confidence, correct)


@pytest.mark.parametrize('num_bins', [0, -3, 2.5, True])
def test_num_bins_refused(num_bins):
    with pytest.raises(ValueError, match='num_bins'):
        expected_calibration_error([0.5], [1], num_bins)


def test_groups_refuse_wrong_labels():
    with pytest.raises(ValueError, match='label 2'):
        shot_group_calibration_error([0.5], [1], [2], [5, 5])
    with pytest.raises(ValueError, match='2 labels for 1'):
        shot_group_calibration_error([0.5], [1], [1, 1], [5, 5])
