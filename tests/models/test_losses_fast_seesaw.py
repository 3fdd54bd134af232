"""FastSeesawLoss against loops in float64 and against mmdet's class."""
import copy
import inspect

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from references.seesaw import boxes
from torch.utils._python_dispatch import TorchDispatchMode

from nbn_mm.models.losses import FastSeesawLoss, seesaw_cross_entropy
from nbn_mm.utils.hosts import host_error

CLASSES = 5
COUNTS = [400.0, 30.0, 7.0, 1.0, 0.0, 900.0]
LABELS = [0, 5, 2, 5, 0, 4, 5, 5, 1, 3]
ROWS = len(LABELS)
TOLERANCE = {torch.float32: dict(rtol=1e-6, atol=1e-7), torch.float64: dict(rtol=1e-12, atol=1e-15)}
NAMES = ('loss_cls_objectness', 'loss_cls_classes')
needs_mmdet = pytest.mark.skipif(host_error('mmdet') is not None, reason='mmdet does not import')


def fast(counts=COUNTS, dtype=torch.float64, **options):
    loss = MODELS.build(dict(type='FastSeesawLoss', **dict(dict(num_classes=CLASSES), **options))).to(dtype)
    if counts is not None:
        loss.cum_samples.copy_(torch.as_tensor(counts))
    return loss


def pair(dtype=torch.float64, counts=COUNTS, **options):
    """Ours and the host's, of the same config and counts."""
    from mmdet.models.losses import SeesawLoss
    ours = fast(counts, dtype, **options)
    host = SeesawLoss(**dict(dict(num_classes=CLASSES), **options)).to(dtype)
    host.load_state_dict(ours.state_dict())
    return ours, host


def logits(rows=ROWS, classes=CLASSES, dtype=torch.float64, scale=3.0, seed=0):
    z = torch.randn(rows, classes + 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale
    return z.to(dtype).requires_grad_()


def labels_of(rows, share, classes, seed=0):
    """A power law over the classes, and background."""
    generator = torch.Generator().manual_seed(seed)
    drawn = (1 / torch.arange(1, classes + 1)).multinomial(rows, True, generator=generator)
    return torch.where(torch.rand(rows, generator=generator) < share, drawn, classes)


def step(loss, z, *args, **kwargs):
    """Losses, the gradient of their sum, and the counts after it."""
    z = z.detach().clone().requires_grad_()
    found = loss(z, *args, **kwargs)
    sum(value.sum() for value in found.values()).backward()
    return found, z.grad, loss.cum_samples


def assert_same(ours, host, **tolerance):
    for name in NAMES:
        assert ours[0][name].shape == host[0][name].shape and ours[0][name].dtype == host[0][name].dtype
        torch.testing.assert_close(ours[0][name], host[0][name], equal_nan=False, **tolerance)
    assert ours[1].dtype == host[1].dtype
    torch.testing.assert_close(ours[1], host[1], **tolerance)
    assert torch.equal(ours[2], host[2])


@pytest.mark.parametrize('options', [dict(), dict(p=0.0), dict(q=0.0), dict(p=0.0, q=0.0), dict(eps=0.0),
                                     dict(p=1.5, q=0.7, eps=0.3)])
@pytest.mark.parametrize('weights', [None, [1.0, 0.5, 2.0, 0.0, 1.0, 3.0, 1.0, 1.0, 0.0, 1.0]])
@pytest.mark.parametrize('avg_factor', [None, 4.0])
def test_value_gradient_and_counts(options, weights, avg_factor):
    z = logits()
    found, gradient, counts = step(fast(loss_weight=2.0, **options), z, torch.tensor(LABELS),
                                   None if weights is None else torch.tensor(weights), avg_factor)
    # the host divides by avg_factor + 1.2e-7
    expected, expected_gradient, expected_counts = boxes(
        z.tolist(), LABELS, COUNTS, weights, None if avg_factor is None else avg_factor + 2**-23, **options)
    for name, value in zip(NAMES, expected, strict=True):
        np.testing.assert_allclose(found[name].item(), 2 * value, rtol=1e-12)
    np.testing.assert_allclose(gradient.numpy(), 2 * np.array(expected_gradient), rtol=1e-11, atol=1e-14)
    assert counts.tolist() == expected_counts


@needs_mmdet
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('rows, share, classes', [(256, 0.25, 40), (64, 1.0, 200), (64, 0.02, 7), (1, 1.0, 3)])
def test_training_equals_the_host(dtype, rows, share, classes):
    """Several batches, so that the counts of the first ones weigh the later ones."""
    ours, host = pair(dtype, counts=None, num_classes=classes)
    for seed in range(4):
        z, labels = logits(rows, classes, dtype, 4.0, seed), labels_of(rows, share, classes, seed)
        weights = torch.rand(rows, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
        args = (labels, weights, 1.0 + (weights > 0).sum().item())
        assert_same(step(ours, z, *args), step(host, z, *args), **TOLERANCE[dtype])
    assert host.cum_samples.sum() == 4 * rows


@needs_mmdet
@pytest.mark.parametrize('options', [dict(), dict(reduction='sum'), dict(reduction='none', eps=0.05),
                                     dict(loss_weight=3.0, p=0.3, q=1.0)])
@pytest.mark.parametrize('override', [None, 'none', 'mean', 'sum'])
@pytest.mark.parametrize('labels', [LABELS, [5] * 10, [3] * 10])
def test_reductions_equal_the_host(options, override, labels):
    """Mixed, background alone (no positives), and foreground alone, of one class."""
    ours, host = pair(**options)
    labels, weights = torch.tensor(labels), torch.linspace(0, 2, 10, dtype=torch.float64).float()
    for args in ((), (weights, ), (weights, 7.0)):
        if len(args) == 2 and (override or options.get('reduction')) == 'sum':
            continue
        assert_same(step(ours, logits(), labels, *args, reduction_override=override),
                    step(host, logits(), labels, *args, reduction_override=override), **TOLERANCE[torch.float64])


@needs_mmdet
def test_sum_of_both_losses_equals_the_host():
    ours, host = pair(return_dict=False)
    for labels in (LABELS, [5] * 10):
        torch.testing.assert_close(ours(logits(), torch.tensor(labels), avg_factor=10.0),
                                   host(logits(), torch.tensor(labels), avg_factor=10.0), **TOLERANCE[torch.float64])


def test_sum_of_rows():
    """The host adds (N, ) to (P, ), which fails."""
    rows, by_name = fast(return_dict=False), fast()
    for labels in (torch.tensor(LABELS), torch.full((10, ), 5)):
        total = rows(logits(), labels, reduction_override='none')
        parts = by_name(logits(), labels, reduction_override='none')
        expected = parts['loss_cls_objectness'].clone()
        expected[labels < 5] += parts['loss_cls_classes']
        torch.testing.assert_close(total, expected)


def test_no_proposals():
    for options in (dict(), dict(avg_factor=1.0), dict(reduction_override='sum')):
        found, gradient, counts = step(fast(), logits(0), torch.zeros(0, dtype=torch.long), torch.zeros(0), **options)
        assert [found[name].item() for name in NAMES] == [0, 0]
        assert gradient.shape == (0, 7) and counts.tolist() == COUNTS


@needs_mmdet
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_autocast_equals_the_host(dtype):
    """The host under a GPU's autocast, where softmax, logarithm and cross-entropy are float32; a CPU's leaves some."""
    ours, host = pair(torch.float32)
    z, weights = logits(dtype=dtype, scale=8.0), torch.rand(10, generator=torch.Generator().manual_seed(3))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found, gradient, counts = step(ours, z, torch.tensor(LABELS), weights, 10.0)
    expected, expected_gradient, expected_counts = step(host, z.float(), torch.tensor(LABELS), weights, 10.0)
    for name in NAMES:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-7)  # float32 both
    assert gradient.dtype == dtype and torch.equal(counts, expected_counts)
    torch.testing.assert_close(gradient.float(), expected_gradient, rtol=max(torch.finfo(dtype).eps, 1e-6), atol=1e-7)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    """Logits as far apart as a half goes: a compensation factor of 1e4 ** 3 would overflow there."""
    z = logits(dtype=dtype, scale=30.0)
    found, gradient, _ = step(fast(dtype=torch.float32, q=6.0), z, torch.tensor(LABELS))
    expected, _, _ = boxes(z.detach().double().tolist(), LABELS, COUNTS, q=6.0)
    for name, value in zip(NAMES, expected, strict=True):
        np.testing.assert_allclose(found[name].item(), value, rtol=1e-5)
    assert torch.isfinite(gradient).all()


@needs_mmdet
def test_checkpoints_and_config_of_the_host():
    from mmdet.models.losses import SeesawLoss
    ours, host = pair(torch.float32)
    assert list(ours.state_dict()) == list(host.state_dict()) == ['cum_samples']
    assert ours.cum_samples.dtype == host.cum_samples.dtype and ours.cum_samples.shape == host.cum_samples.shape
    assert dict(ours.named_buffers()).keys() == dict(host.named_buffers()).keys()
    step(host, logits(), torch.tensor(LABELS))
    other = fast(None)
    other.load_state_dict(host.state_dict())
    assert torch.equal(other.cum_samples.float(), host.cum_samples) and host.cum_samples[0] == 402
    signature, of_host = (inspect.signature(cls.__init__).parameters for cls in (FastSeesawLoss, SeesawLoss))
    assert {name: signature[name].default for name in of_host} == {name: p.default for name, p in of_host.items()}
    assert signature.keys() - of_host.keys() == {'sync_counts'} and signature['sync_counts'].default is False
    call, of_host = (list(inspect.signature(cls.forward).parameters) for cls in (FastSeesawLoss, SeesawLoss))
    assert call == of_host


@needs_mmdet
def test_hooks_of_the_box_heads_equal_the_host():
    ours, host = pair()
    for name in ('custom_cls_channels', 'custom_activation', 'custom_accuracy', 'use_sigmoid'):
        assert getattr(ours, name) == getattr(host, name)
    assert ours.get_cls_channels(CLASSES) == host.get_cls_channels(CLASSES) == 7
    z = logits()
    assert torch.equal(ours.get_activation(z), host.get_activation(z))
    stacked = torch.stack([z, z])
    assert torch.equal(ours.get_activation(stacked), host.get_activation(stacked))
    with torch.no_grad():
        z[torch.arange(10), torch.tensor(LABELS)] += 2.0
    for labels in (LABELS, [5] * 10, [0] * 10):
        a, b = (loss.get_accuracy(z, torch.tensor(labels)) for loss in (ours, host))
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].item() == pytest.approx(b[name].item(), rel=1e-7)
    assert 0 < ours.get_accuracy(z, torch.tensor(LABELS))['acc_classes'].item() < 100
    assert ours.get_accuracy(logits(0), torch.zeros(0, dtype=torch.long))['acc_objectness'].item() == 0


class Record(TorchDispatchMode):
    """Operations, those that wait for the device, and the largest tensor that they give."""
    WAITS = ('nonzero', '_local_scalar_dense', 'is_nonzero', '_unique', 'masked_select', 'equal', 'bincount', 'item')

    def __init__(self):
        super().__init__()
        self.operations, self.waits, self.largest = [], [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.split('::')[1]
        self.operations.append(name)
        masks = name.startswith(('index', '_index')) and any(
            torch.is_tensor(index) and index.dtype in (torch.bool, torch.uint8)
            for arg in args if isinstance(arg, (list, tuple)) for index in arg)
        if masks or name.startswith(self.WAITS):
            self.waits.append(name)
        sizes = [o.numel() for o in (out if isinstance(out, (list, tuple)) else [out]) if torch.is_tensor(o)]
        self.largest = max([self.largest, *sizes])
        return out


def recorded(loss, labels):
    z = logits(len(labels), loss.num_classes, torch.float32)
    with Record() as record:
        found = loss(z, labels, torch.ones(len(labels)), avg_factor=float(len(labels)))
        sum(found.values()).backward()
    return record


@pytest.mark.parametrize('sync_counts', [False, True])
def test_one_wait_under_100_operations_and_no_square_matrix(sync_counts):
    rows, classes = 96, 1203
    one_class = torch.tensor([7] * 48 + [classes] * 48)
    many = torch.cat([torch.arange(48) * 20, one_class[48:]])
    records = [recorded(fast(None, torch.float32, num_classes=classes, sync_counts=sync_counts), labels)
               for labels in (one_class, many)]
    assert records[0].operations == records[1].operations and 10 < len(records[0].operations) < 100
    assert records[1].waits == ['nonzero']
    assert records[1].largest == rows * (classes + 2) < classes**2


@needs_mmdet
def test_the_record_sees_the_waits_of_the_host():
    from mmdet.models.losses import SeesawLoss
    record = recorded(SeesawLoss(num_classes=200), torch.arange(96) * 2)
    assert len(record.operations) > 500 and len(record.waits) > 96 and record.largest == 200**2


@needs_mmdet
def test_counts_beyond_the_integers_of_float32():
    """Ones added singly would no longer change 2 ** 24."""
    ours, host = pair(torch.float32, counts=[2.0**24] * 6)
    for loss in (ours, host):
        loss(logits(dtype=torch.float32), torch.tensor([0, 0, 0, 0, 1, 1, 5, 5, 5, 5]))
    assert torch.equal(ours.cum_samples, host.cum_samples) and ours.cum_samples[0] == 2**24 + 4


def test_a_copy_has_counts_of_its_own():
    loss = fast()
    twin = copy.deepcopy(loss)
    twin(logits(), torch.tensor(LABELS))
    assert loss.cum_samples.tolist() == COUNTS and twin.cum_samples[0] == 402


def test_gradient_of_the_gradient():
    """SplitScores is linear: numerical differences of the gradient agree."""
    def function(z):
        loss = fast(p=0.8, q=0.0)
        return sum(loss(z, torch.tensor(LABELS)).values())

    assert torch.autograd.gradcheck(function, logits()) and torch.autograd.gradgradcheck(function, logits())


def test_compiled():
    """The graph breaks where the positives are counted; gradients stay right."""
    plain, compiled = fast(), torch.compile(fast(), backend='eager')
    z, again = logits(), logits()
    sum(plain(z, torch.tensor(LABELS)).values()).backward()
    sum(compiled(again, torch.tensor(LABELS)).values()).backward()
    torch.testing.assert_close(again.grad, z.grad)
    assert torch.equal(plain.cum_samples, compiled.cum_samples)


def test_impossible_classes_stay_impossible():
    """A logit of minus infinity: no share of the loss, and no NaN."""
    z = logits().detach()
    z[:, 1] = -torch.inf
    labels = torch.tensor([0, 2, 3])
    loss = seesaw_cross_entropy(z[:3, :5], labels, torch.tensor(COUNTS[:5]))
    keep = [0, 2, 3, 4]
    expected = seesaw_cross_entropy(z[:3, keep], torch.tensor([0, 1, 2]), torch.tensor(COUNTS)[keep])
    torch.testing.assert_close(loss, expected)


def test_bad_options_and_input():
    with pytest.raises(ValueError, match='use_sigmoid=True, but Seesaw is a softmax.*loss_cls.use_sigmoid'):
        fast(use_sigmoid=True)
    for name in ('p', 'q', 'eps'):
        with pytest.raises(ValueError, match=f'FastSeesawLoss: {name}=-1.0 must be at least 0.*loss_cls.{name}'):
            fast(**{name: -1.0})
    with pytest.raises(ValueError, match="reduction='max' must be one of"):
        fast(reduction='max')
    labels = torch.tensor(LABELS)
    with pytest.raises(ValueError, match="reduction='max' must be one of"):
        fast()(logits(), labels, reduction_override='max')
    with pytest.raises(ValueError, match="avg_factor does not go with reduction='sum'"):
        fast()(logits(), labels, avg_factor=2.0, reduction_override='sum')
    for call in (lambda loss, z: loss(z, labels), FastSeesawLoss.get_activation,
                 lambda loss, z: loss.get_accuracy(z, labels)):
        with pytest.raises(ValueError, match=r'num_classes=5 expects logits \(N, 7\), got \(10, 6\).*bbox_head'):
            call(fast(), torch.zeros(10, 6))
    with pytest.raises(ValueError, match=r'expects labels \(N, \) for logits \(N, 7\), got \(9,\) and \(10, 7\)'):
        fast()(logits(), labels[:9])
    with pytest.raises(ValueError, match='bbox_head.num_classes=80, but loss_cls.num_classes=5'):
        fast().get_cls_channels(80)
    for label in (-1, 6):
        loss = fast()
        with pytest.raises(ValueError, match=r'labels from -?\d to \d, but they must lie between 0 and 5.*loss_cls'):
            loss(logits(), torch.tensor([*LABELS[1:], label]))
        assert loss.cum_samples.tolist() == COUNTS
