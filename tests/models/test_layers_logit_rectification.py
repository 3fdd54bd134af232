"""Logit rectification against nn.BatchNorm1d, and two gloo processes against one."""
import copy
import math

import pytest
import torch
import torch.distributed as dist
from mmengine.registry import MODELS
from process_server import run_ranks
from torch import nn

from nbn_mm.models.layers import LogitRectification

F64 = torch.float64


def pair(features=5, **kwargs):
    ours = LogitRectification(features, **kwargs).double()
    kwargs.pop('unrectified', None)
    return ours, nn.BatchNorm1d(features, affine=False, **kwargs).double()


@pytest.mark.parametrize('momentum', [0.1, 1.0, None])
@pytest.mark.parametrize('eps', [1e-5, 1e-2])
def test_equals_batch_norm(momentum, eps):
    ours, bn = pair(momentum=momentum, eps=eps)
    assert set(ours.state_dict()) == set(bn.state_dict())
    for step in range(4):
        x = torch.randn(7 + step, 5, dtype=F64) * 4 + 9
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        grad = torch.randn_like(x)
        for layer, y in ((ours, a), (bn, b)):
            layer(y).backward(grad)
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-11, atol=1e-13)
        for key, value in bn.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(ours(x), bn(x), rtol=1e-12, atol=1e-12)
    ours.eval(), bn.eval()
    torch.testing.assert_close(ours(x), bn(x), rtol=1e-12, atol=1e-12)


def test_before_any_batch_it_is_the_identity_as_batch_norm_is():
    ours, bn = pair()
    x = torch.randn(3, 5, dtype=F64)
    torch.testing.assert_close(ours.eval()(x), bn.eval()(x), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize('training', [True, False])
def test_unrectified_columns(training):
    ours, bn = LogitRectification(5, unrectified=2).double().train(training), nn.BatchNorm1d(3, affine=False).double()
    ours.running_mean.normal_()
    bn.running_mean.copy_(ours.running_mean)
    bn.train(training)
    x = torch.randn(6, 5, dtype=F64, requires_grad=True)
    out = ours(x)
    torch.testing.assert_close(out[:, :3], bn(x[:, :3]), rtol=1e-12, atol=1e-12)
    assert torch.equal(out[:, 3:], x[:, 3:])
    out[:, 3:].sum().backward()
    assert torch.equal(x.grad, torch.tensor([0.0, 0, 0, 1, 1], dtype=F64).expand(6, 5))


@pytest.mark.parametrize('rows', [0, 1])
@pytest.mark.parametrize('unrectified', [0, 2])
def test_too_few_rows_use_the_moving_averages_and_leave_them(rows, unrectified):
    ours = LogitRectification(5, unrectified=unrectified)
    ours(torch.randn(8, 5) * 3 + 1)
    before = copy.deepcopy(ours.state_dict())
    x = torch.randn(rows, 5, requires_grad=True)
    out = ours(x)
    assert all(torch.equal(before[key], value) for key, value in ours.state_dict().items())
    assert torch.equal(out, copy.deepcopy(ours).eval()(x)) and out.shape == (rows, 5)
    out.sum().backward()
    assert x.grad.shape == (rows, 5) and torch.isfinite(x.grad).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_float32_inside(dtype):
    x = (torch.randn(64, 5) * 0.05 + 30).to(dtype)
    ours = LogitRectification(5)
    reference = nn.BatchNorm1d(5, affine=False)
    out, expected = ours(x), reference(x.float())
    assert out.dtype == dtype and ours.running_var.dtype == torch.float32
    torch.testing.assert_close(out, expected.to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(ours.running_var, reference.running_var)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(LogitRectification(5)(x), expected.to(dtype), rtol=0, atol=0)
    assert torch.isfinite(LogitRectification(5).to(dtype)(x)).all()


def test_two_forwards_before_the_backward():
    """Two views of a batch: the averages move between them, and that disturbs neither gradient."""
    ours, bn = pair()
    x = torch.randn(2, 6, 5, dtype=F64)
    grads = []
    for layer in (ours, bn):
        views = x.clone().requires_grad_()
        (layer(views[0]).pow(3).sum() + layer(views[1]).pow(3).sum()).backward()
        grads.append(views.grad)
    torch.testing.assert_close(*grads, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(ours.running_var, bn.running_var, rtol=1e-12, atol=0)
    assert ours.num_batches_tracked == bn.num_batches_tracked == 2


@pytest.mark.parametrize('momentum', [0.3, None])
def test_averages_of_another_dtype_than_the_logits(momentum):
    """Half averages with float32 arithmetic, float64 averages with float32 logits."""
    x = torch.randn(16, 3) * 2 + 1
    reference = nn.BatchNorm1d(3, affine=False, momentum=momentum)
    expected = reference(x)
    for dtype, tolerance in ((torch.float16, 1e-3), (torch.bfloat16, 1e-2), (F64, 1e-6)):
        ours = LogitRectification(3, momentum=momentum).to(dtype)
        torch.testing.assert_close(ours(x), expected, rtol=0, atol=0)
        torch.testing.assert_close(ours.running_var.float(), reference.running_var, rtol=tolerance, atol=tolerance)
        assert ours.running_var.dtype == dtype and ours.num_batches_tracked == 1


def test_affine_is_the_layer_in_eval_mode():
    ours = LogitRectification(5, unrectified=2).double()
    ours(torch.randn(30, 5, dtype=F64) * 2 + 3)
    scale, shift = ours.affine()
    x = torch.randn(4, 5, dtype=F64)
    torch.testing.assert_close(scale * x + shift, ours.eval()(x), rtol=1e-12, atol=1e-12)


def test_bound_on_a_class_logit():
    """A class with share p of the batch reaches sqrt((1 - p) / p) at most, on average over its rows."""
    x = torch.zeros(20, 2, dtype=F64)
    x[:5, 0] = 1e4
    reached = LogitRectification(2).double()(x)[:5, 0].mean().item()
    assert math.isclose(reached, math.sqrt(0.75 / 0.25), rel_tol=1e-6)


def test_reset():
    ours = LogitRectification(3)
    ours(torch.randn(4, 3) + 5)
    ours.reset_running_stats()
    for key, value in LogitRectification(3).state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


@pytest.mark.parametrize('kwargs, message', [
    (dict(eps=0), 'eps=0 .*rectification.eps'), (dict(eps=-1e-5), 'eps=-1e-05'),
    (dict(momentum=1.5), 'momentum=1.5'), (dict(momentum=0), 'momentum=0'),
    (dict(unrectified=3), 'unrectified=3 .*3 logits'), (dict(unrectified=-1), 'unrectified=-1')])
def test_bad_options(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='LogitRectification', num_features=3, **kwargs))


@pytest.mark.parametrize('shape', [(4, 3), (5, ), (2, 5, 4)])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match=r'expected \(N, 5\)'):
        LogitRectification(5)(torch.zeros(shape))


# Rows of both ranks, step by step: unequal, one rank empty, one row in all, none at all, and enough again.
SHARDS = [(5, 3), (6, 0), (0, 4), (1, 0), (0, 0), (1, 1)]


def steps(layer, rank=None):
    """Inputs, outputs and gradients of each step, with the rows of one rank or (None) of both."""
    torch.manual_seed(3)
    results = []
    for shard in SHARDS:
        x = torch.randn(sum(shard), 4, dtype=F64) * 3 + 2
        weight = torch.randn_like(x)
        if rank is not None:
            rows = slice(0, shard[0]) if rank == 0 else slice(shard[0], sum(shard))
            x, weight = x[rows], weight[rows]
        x.requires_grad_()
        out = layer(x)
        (out * weight).sum().backward()
        results.append((out.detach(), x.grad))
    return results, layer.state_dict()


def sync_worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    for name, kwargs in (('plain', {}), ('cumulative', dict(momentum=None)), ('kept', dict(unrectified=1))):
        layer = LogitRectification(4, sync=True, **kwargs).double()
        torch.save(steps(layer, rank), f'{folder}/{name}{rank}.pth')
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    run_ranks(sync_worker, str(tmp_path))
    for name, kwargs in (('plain', {}), ('cumulative', dict(momentum=None)), ('kept', dict(unrectified=1))):
        expected, state = steps(LogitRectification(4, sync=True, **kwargs).double())
        (first, state0), (second, state1) = (torch.load(tmp_path / f'{name}{rank}.pth') for rank in range(2))
        for key, value in state.items():
            torch.testing.assert_close(state0[key], value, rtol=1e-12, atol=1e-13)
            assert torch.equal(state0[key], state1[key])
        for parts in zip(first, second, expected, strict=True):
            for a, b, both in zip(*parts, strict=True):
                torch.testing.assert_close(torch.cat([a, b]), both, rtol=1e-11, atol=1e-12)
