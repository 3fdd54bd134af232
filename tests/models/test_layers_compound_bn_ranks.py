"""CompoundBN over two gloo processes equals one process that holds both batches; the split path under DDP."""
import os
import socket

import pytest
import torch
import torch.distributed as dist
from compound_networks import DigitsNet
from process_server import run_ranks
from torch.nn.parallel import DistributedDataParallel

from nbn_mm.models.layers import CompoundBN

SPLITS = [(3, 3), (5, 1)]
X = torch.randn(6, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 7
DY = torch.randn(6, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
IMAGES = torch.randn(8, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
LABELS = torch.tensor([0, 7, 1, 8, 2, 9, 3, 0])  # one or two images of a group on each rank, two or more in all


def layers():
    torch.manual_seed(0)
    return [CompoundBN(4, sync=True).double(), CompoundBN(4, group_size=2, tempering=0, sync=True).double()]


def run(layer, x, dy):
    """Two training steps without optimiser from the very start, then an evaluation: everything that a rank sees."""
    x = x.clone().requires_grad_()
    layer(x.detach() * 2 - 3)
    y = layer(x)
    y.backward(dy)
    grads = {name: p.grad for name, p in layer.named_parameters()}
    buffers = {name: b.clone() for name, b in layer.named_buffers()}
    return dict(y=y.detach(), x=x.grad, grads=grads, buffers=buffers, eval=layer.eval()(x).detach())


def network(sync):
    return DigitsNet(num_components=3, sync=sync, nbn=dict(zero_bias='smooth')).double()


def train(model, net, images, labels, scale):
    steps = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(4):
        net.compound.inform(labels)
        steps.zero_grad()
        (model(images).square().sum() * scale).backward()
        steps.step()
    return {name: value.clone() for name, value in net.state_dict().items()}


def rank_main(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    part = lambda t, split: t[:split[0]] if rank == 0 else t[split[0]:]  # noqa: E731
    out = {split: [run(layer, part(X, split), part(DY, split)) for layer in layers()] for split in SPLITS}
    half = slice(0, 4) if rank == 0 else slice(4, 8)
    net = network(sync=True)
    out['ddp'] = train(DistributedDataParallel(net), net, IMAGES[half], LABELS[half], scale=2)  # DDP averages
    torch.save(out, os.path.join(folder, f'{rank}.pth'))
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('compound')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    run_ranks(rank_main, port, str(folder))
    return [torch.load(folder / f'{rank}.pth', weights_only=False) for rank in (0, 1)]


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize('index', [0, 1])
def test_two_processes_equal_one(ranks, split, index):
    one = run(layers()[index], X, DY)
    two = [r[split][index] for r in ranks]
    for key in ('y', 'x', 'eval'):
        close(torch.cat([t[key] for t in two]), one[key])
    for name, grad in one['grads'].items():
        close(sum(t['grads'][name] for t in two), grad)
    for name, buffer in one['buffers'].items():
        close(two[0]['buffers'][name], buffer)
        assert torch.equal(two[0]['buffers'][name], two[1]['buffers'][name])


def test_both_paths_under_ddp_equal_one_process(ranks):
    """A group of which each rank holds one image has the moments of both."""
    net = network(sync=True)
    want = train(net, net, IMAGES, LABELS, scale=1)
    assert set(want) == set(ranks[0]['ddp'])
    for name, value in want.items():
        close(ranks[0]['ddp'][name], value)
        assert torch.equal(ranks[0]['ddp'][name], ranks[1]['ddp'][name])
    assert not torch.equal(want['bn3.running_mean'], network(sync=True).state_dict()['bn3.running_mean'])
