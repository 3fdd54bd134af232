"""Synchronised statistics: two gloo processes equal one process that holds both batches."""
import copy
import os
import socket
from functools import partial

import pytest
import torch
import torch.distributed as dist
from process_server import run_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nbn_mm.models.layers import NBN, AllReduceBN, global_moments, sync_batch_norm, sync_world_size
from nbn_mm.models.placement import apply_nbn

TOLERANCE = dict(rtol=1e-10, atol=1e-10)
SPLITS = [(3, 3), (5, 1), (6, 0)]
X = torch.randn(6, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 7
DY = torch.randn(6, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


class Net(nn.Module):
    """A residual network with batch norms that stay and some that become NBN."""

    def __init__(self, sync):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.layer1 = nn.Sequential(nn.Sequential())
        self.layer1[0].conv = nn.Conv2d(4, 4, 1)
        self.layer1[0].bn1 = nn.BatchNorm2d(4)
        apply_nbn(self, sync=sync, zero_bias='random')
        self.double()

    def forward(self, x):
        return self.layer1(self.stem(x))


def layers():
    torch.manual_seed(0)
    made = [AllReduceBN(4), AllReduceBN(4, affine=False), AllReduceBN(4, momentum=None),
            AllReduceBN(4, track_running_stats=False), NBN(4, sync=True),
            NBN(4, sync=True, separate_bias_magnitude=True)]
    for layer in made:
        layer.double()
        for p in layer.parameters():
            nn.init.normal_(p, 1.0)
    return made


def run(layer, x, dy):
    """Two training steps without optimiser, then an evaluation: everything that a rank sees."""
    x = x.clone().requires_grad_()
    layer(x.detach())
    y = layer(x)
    y.backward(dy)
    grads = {name: p.grad for name, p in layer.named_parameters()}
    buffers = {name: b.clone() for name, b in layer.named_buffers()}
    return dict(y=y.detach(), x=x.grad, grads=grads, buffers=buffers, eval=layer.eval()(x).detach())


def train(model, batches, scale):
    steps = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for x, target in batches:
        steps.zero_grad()
        ((model(x) - target).square().sum() * scale).backward()
        steps.step()
    return {k.replace('module.', ''): v.clone() for k, v in model.state_dict().items()}


def rank_main(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    part = lambda t, split: t[:split[0]] if rank == 0 else t[split[0]:]  # noqa: E731
    out = {split: [run(layer, part(X, split), part(DY, split)) for layer in layers()] for split in SPLITS}
    out['world'] = sync_world_size()
    out['moments'] = global_moments(part(X.float() * 1e-3 + 1e4, (4, 2)))
    batches = [(part(X, (2, 4)), part(DY, (2, 4)))] * 5
    # DDP averages over the ranks, one process sums.
    out['ddp'] = train(DistributedDataParallel(Net(sync=True)), batches, scale=2)
    try:
        sync_batch_norm(torch.ones(1 - rank, 4), None, None)
    except ValueError as error:
        out['error'] = str(error)
    torch.save(out, os.path.join(folder, f'{rank}.pth'))
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sync')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    run_ranks(rank_main, port, str(folder))
    return [torch.load(folder / f'{rank}.pth', weights_only=False) for rank in (0, 1)]


close = partial(torch.testing.assert_close, **TOLERANCE)


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize('index', range(6))
def test_two_processes_equal_one(ranks, split, index):
    one = run(layers()[index], X, DY)
    two = [r[split][index] for r in ranks]
    for key in ('y', 'x'):
        close(torch.cat([t[key] for t in two]), one[key])
    if not isinstance(layers()[index], AllReduceBN) or layers()[index].track_running_stats:
        close(torch.cat([t['eval'] for t in two]), one['eval'])
    for name, grad in one['grads'].items():
        close(sum(t['grads'][name] for t in two), grad)
    for name, buffer in one['buffers'].items():
        close(two[0]['buffers'][name], buffer)
        assert torch.equal(two[0]['buffers'][name], two[1]['buffers'][name])


def test_training_under_ddp_equals_one_process(ranks):
    want = train(Net(sync=False), [(X, DY)] * 5, scale=1)
    assert set(want) == set(ranks[0]['ddp']) and 'nbn.magnitude' in want
    for name, value in want.items():
        close(ranks[0]['ddp'][name], value)
        assert torch.equal(ranks[0]['ddp'][name], ranks[1]['ddp'][name])
    assert want['nbn.magnitude'] != 1


def test_moments_far_from_zero_in_float32(ranks):
    """A mean of 1e4 and a deviation of 1e-3: E[x²] − E[x]² would have no digit left."""
    x = X.float() * 1e-3 + 1e4
    total, mean, squares = ranks[0]['moments']
    exact = x.double()
    assert ranks[0]['world'] == 2 and total == 36
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), rtol=1e-7, atol=0)
    torch.testing.assert_close(squares.double() / total, exact.var((0, 2, 3), correction=0), rtol=0.2, atol=0)


def test_too_few_values(ranks):
    for rank, shape in ((0, r'\(1, 4\)'), (1, r'\(0, 4\)')):
        assert 'at least two values per channel over all ranks, got 1' in ranks[rank]['error']
        assert shape.replace('\\', '') in ranks[rank]['error'] and 'train_dataloader.batch_size' in ranks[rank]['error']


def test_one_process_is_the_ordinary_batch_norm():
    assert sync_world_size() == 1
    for layer in layers():
        plain = copy.deepcopy(layer)
        plain.sync = False
        a, b = run(layer, X, DY), run(plain, X, DY)
        assert torch.equal(a['y'], b['y']) and torch.equal(a['x'], b['x']) and torch.equal(a['eval'], b['eval'])


@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-10), (torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize('shape', [(6, 4), (3, 4, 5), (2, 4, 3, 2)])
@pytest.mark.parametrize('affine', [True, False])
def test_the_function_against_torch(dtype, tolerance, shape, affine):
    """Merging the moments of one rank: forward, backward and running statistics are those of F.batch_norm."""
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_()
    dy = torch.randn(shape, dtype=torch.float64).to(dtype)
    w, b = (torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(2)) if affine else (None, None)
    mean, var = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    sync_batch_norm(x, mean, var, w, b, 0.3, 1e-3).backward(dy)
    inputs = [t for t in (x, w, b) if t is not None]
    got, inputs_ref = [t.grad for t in inputs], [t.detach().double().requires_grad_() for t in inputs]
    ref_mean, ref_var = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    args = inputs_ref[1:] if affine else [None, None]
    torch.nn.functional.batch_norm(inputs_ref[0], ref_mean, ref_var, *args, True, 0.3, 1e-3).backward(dy.double())
    for a, r in zip(got + [mean, var], [t.grad for t in inputs_ref] + [ref_mean, ref_var], strict=True):
        torch.testing.assert_close(a.double(), r, rtol=tolerance, atol=tolerance)


def test_compiled_gradients():
    """torch 2.11 traces the function to gradients of 0, so that it must stay outside of the graphs."""
    def gradients(function):
        x, w, b = (t.detach().clone().requires_grad_() for t in (X, torch.ones(4).to(X), torch.zeros(4).to(X)))
        (function(x, None, None, w, b) * DY).sum().backward()
        return x.grad, w.grad, b.grad

    for compiled, eager in zip(gradients(torch.compile(sync_batch_norm, backend='eager')), gradients(sync_batch_norm),
                               strict=True):
        assert eager.abs().sum() > 0
        torch.testing.assert_close(compiled, eager)


def test_dimension_check():
    with pytest.raises(ValueError, match=r'AllReduceBN expects an input \(N, C, \*\), got shape \(4,\)'):
        AllReduceBN(4)(torch.ones(4))


def test_epsilon_must_be_positive():
    with pytest.raises(ValueError, match='AllReduceBN: eps=-1.0 must be greater than 0. Change `eps` of norm_cfg'):
        AllReduceBN(4, eps=-1.0)
