"""FastSeesawClsLoss against loops in float64 and against mmpretrain's class."""
import inspect

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from references.seesaw import row

from nbn_mm.models.losses import FastSeesawClsLoss
from nbn_mm.utils.hosts import host_error

COUNTS = [400.0, 30.0, 7.0, 0.0]
LABELS = torch.tensor([0, 2, 0, 3, 1, 0])
WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 0.0, 1.0, 3.0])
needs_mmpretrain = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')


def logits(rows=6, classes=4, dtype=torch.float64, seed=0):
    z = torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    return z.to(dtype).requires_grad_()


def fast(dtype=torch.float64, **options):
    loss = MODELS.build(dict(type='FastSeesawClsLoss', **dict(dict(num_classes=4), **options))).to(dtype)
    if loss.num_classes == 4:
        loss.cum_samples.copy_(torch.tensor(COUNTS))
    return loss


def test_value_gradient_and_counts():
    for weight, avg_factor in ((None, None), (WEIGHTS, None), (WEIGHTS, 4.0)):
        z, loss = logits(), fast(loss_weight=2.0)
        found = loss(z, LABELS, weight, avg_factor)
        found.backward()
        assert loss.cum_samples.tolist() == [403, 31, 8, 1]
        rows = [row(line, label, [403, 31, 8, 1]) for line, label in zip(z.tolist(), LABELS.tolist(), strict=True)]
        share = 2 * (torch.ones(6) if weight is None else weight).double().numpy() / (avg_factor or 6)
        np.testing.assert_allclose(found.item(), sum(share * [value for value, _ in rows]), rtol=1e-12)
        np.testing.assert_allclose(z.grad.numpy(), share[:, None] * [gradient for _, gradient in rows], rtol=1e-11,
                                   atol=1e-15)


@needs_mmpretrain
@pytest.mark.parametrize('dtype, digits', [(torch.float32, dict(rtol=1e-6, atol=1e-7)),
                                           (torch.float64, dict(rtol=1e-12, atol=1e-15))])
@pytest.mark.parametrize('options', [dict(), dict(reduction='sum', p=0.3), dict(reduction='none', q=0.0, eps=0.3)])
def test_training_equals_the_host(dtype, digits, options):
    from mmpretrain.models.losses import SeesawLoss
    options = dict(options, num_classes=30)
    ours, host = fast(dtype, **options), SeesawLoss(**options).to(dtype)
    for seed in range(4):
        labels = (1 / torch.arange(1, 31)).multinomial(64, True, generator=torch.Generator().manual_seed(seed))
        z, again = (logits(64, 30, dtype, seed) for _ in range(2))
        a, b = ours(z, labels), host(again, labels)
        torch.testing.assert_close(a, b, **digits)
        (a.sum() + b.sum()).backward()
        torch.testing.assert_close(z.grad, again.grad, **digits)
        assert torch.equal(ours.cum_samples, host.cum_samples) and ours.cum_samples.sum() == 64 * (seed + 1)
    for override in ('none', 'mean'):
        args = (torch.rand(64).round(decimals=1), 5.0, override)
        torch.testing.assert_close(ours(z, labels, *args), host(z, labels, *args), **digits)


@needs_mmpretrain
def test_checkpoints_and_config_of_the_host():
    from mmpretrain.models.losses import SeesawLoss
    ours, host = fast(torch.float32), SeesawLoss(num_classes=4)
    host.load_state_dict(ours.state_dict())
    host(logits(), LABELS)
    ours.load_state_dict(host.state_dict())
    assert ours.cum_samples.tolist() == [403, 31, 8, 1] and list(host.state_dict()) == ['cum_samples']
    a, b = (inspect.signature(cls.__init__).parameters for cls in (FastSeesawClsLoss, SeesawLoss))
    assert {name: a[name].default for name in b} == {name: parameter.default for name, parameter in b.items()}
    assert a.keys() - b.keys() == {'sync_counts'}
    assert list(inspect.signature(FastSeesawClsLoss.forward).parameters) == list(
        inspect.signature(SeesawLoss.forward).parameters)


def test_no_rows_and_bad_input():
    z = logits(0)
    loss = fast()(z, LABELS[:0])
    loss.backward()
    assert loss.item() == 0 and z.grad.shape == (0, 4)
    with pytest.raises(ValueError, match=r'expects logits \(N, 4\).*\(6, 5\) and \(6,\)\. Change `head.loss'):
        fast()(logits(classes=5), LABELS)
    with pytest.raises(ValueError, match=r'\(6, 4\) and \(6, 4\).*soft labels'):
        fast()(logits(), torch.ones(6, 4))
    with pytest.raises(ValueError, match='labels from 0 to 4, but they must lie between 0 and 3.*head.loss.num_'):
        fast()(logits(), LABELS + (LABELS == 3))
    with pytest.raises(ValueError, match='p=-0.5 must be at least 0'):
        fast(p=-0.5)


def test_one_graph_without_a_wait():
    """Nothing of the device's values is asked for: otherwise the graph would break."""
    plain, compiled = fast(), torch.compile(fast(), fullgraph=True, backend='eager')
    z, again = logits(), logits()
    plain(z, LABELS).backward()
    compiled(again, LABELS).backward()
    torch.testing.assert_close(again.grad, z.grad)
    assert torch.equal(plain.cum_samples, compiled.cum_samples)
