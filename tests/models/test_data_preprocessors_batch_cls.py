"""The preprocessor of batches of labels beside the host's on one data sample an image."""
import copy

import numpy as np
import pytest
import torch

from nbn_mm.datasets import LabelBatch
from nbn_mm.models.placement.fold_config import fold_model_config
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')

LABELS = [2, 0, 1, 1]


def build(kind, **kwargs):
    from mmpretrain.registry import MODELS
    return MODELS.build(dict(type=kind, mean=[120., 110, 100], std=[60., 55, 50], **kwargs))


def images():
    return torch.randint(0, 256, (4, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def samples(kind):
    from mmpretrain.structures import DataSample
    if kind == 'batch':
        return LabelBatch(DataSample, range(4), gt_label=torch.tensor(LABELS))
    return [DataSample().set_gt_label(label) for label in LABELS]


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('options', [
    {}, dict(to_rgb=True), dict(pad_size_divisor=4, pad_value=3), dict(to_onehot=True, num_classes=3),
    dict(num_classes=3, batch_augments=dict(augments=dict(type='Mixup', alpha=0.8))),
    dict(num_classes=3, batch_augments=dict(augments=[dict(type='CutMix', alpha=1.0)], probs=[0.5]))])
def test_numbers_are_the_hosts(options, training):
    found = []
    for kind, data_samples in (('ClsDataPreprocessor', samples('list')), ('BatchClsDataPreprocessor', samples('batch')),
                               ('BatchClsDataPreprocessor', samples('list'))):
        torch.manual_seed(1)
        np.random.seed(1)
        found.append(build(kind, **copy.deepcopy(options))(dict(inputs=images(), data_samples=data_samples), training))
    host, ours, listed = found
    assert torch.equal(host['inputs'], ours['inputs']) and torch.equal(host['inputs'], listed['inputs'])
    batch = ours['data_samples']
    assert isinstance(batch, LabelBatch) and not batch.touched and batch.gt_label.tolist() == LABELS
    soft = 'gt_score' in host['data_samples'][0]
    assert (batch.gt_score is not None) == soft
    if soft:
        expected = torch.stack([sample.gt_score for sample in host['data_samples']])
        assert torch.equal(batch.gt_score, expected) and batch.gt_score.dtype == expected.dtype


def test_what_was_written_into_samples_counts():
    """A hook gave one image a soft label of its own before the preprocessor saw the batch."""
    found = []
    for kind, name in (('ClsDataPreprocessor', 'list'), ('BatchClsDataPreprocessor', 'batch')):
        data_samples = samples(name)
        for sample in data_samples:
            sample.set_gt_score([0.2, 0.3, 0.5])
        options = dict(num_classes=3, batch_augments=dict(augments=dict(type='Mixup', alpha=0.8)))
        torch.manual_seed(1)
        np.random.seed(1)
        found.append(build(kind, **options)(dict(inputs=images(), data_samples=data_samples), True))
    host, ours = found
    assert torch.equal(host['inputs'], ours['inputs']) and ours['data_samples'].touched
    for one, two in zip(host['data_samples'], ours['data_samples'], strict=True):
        assert torch.equal(one.gt_score, two.gt_score) and torch.equal(one.gt_label, two.gt_label)


def test_a_batch_without_labels_is_normalised():
    out = build('BatchClsDataPreprocessor')(dict(inputs=images()))
    assert out['data_samples'] is None and out['inputs'].dtype == torch.float32


def test_a_folded_network_has_the_hosts():
    cfg = dict(data_preprocessor=dict(type='BatchClsDataPreprocessor', mean=[1.]))
    assert fold_model_config(cfg) == dict(data_preprocessor=dict(type='ClsDataPreprocessor', mean=[1.]))
