"""Counts of Seesaw over two gloo processes."""
import os
import socket

import pytest
import torch
import torch.distributed as dist
from process_server import run_ranks
from torch import nn

from nbn_mm.models.losses import FastSeesawClsLoss, FastSeesawLoss

CLASSES = 4
# What each rank sees in turn: mixed; no foreground on rank 1; no row at all on rank 1, then on rank 0.
BATCHES = [([0, 4, 1, 0], [3, 3, 3, 3, 4]), ([2, 2, 4], [4, 4]), ([1, 0, 4, 4, 4], []), ([], [0, 4, 2])]


def logits(labels, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(labels), CLASSES + 2, generator=generator, dtype=torch.float64).requires_grad_()


def run(loss, batches):
    """Losses, gradients and counts after each batch."""
    out = []
    for number, labels in enumerate(batches):
        z = logits(labels, number)
        found = loss(z, torch.tensor(labels, dtype=torch.long), avg_factor=10.0)
        sum(found.values()).backward()
        out.append(({name: value.detach() for name, value in found.items()}, z.grad, loss.cum_samples.clone()))
    return out


class Net(nn.Module):
    """A classifier that computes its loss in forward, as a detector does."""

    def __init__(self, sync_counts):
        super().__init__()
        self.fc = nn.Linear(3, CLASSES + 2)
        self.loss = FastSeesawLoss(num_classes=CLASSES, sync_counts=sync_counts)

    def forward(self, labels):
        x = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(5))
        return sum(self.loss(self.fc(x), torch.tensor(labels, dtype=torch.long), avg_factor=10.0).values())


def ddp_counts(rank, sync_counts, broadcast):
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(Net(sync_counts), broadcast_buffers=broadcast)
    for batch in BATCHES:
        model(batch[rank]).backward()
    return model.module.loss.cum_samples


def rank_main(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    mine = [batch[rank] for batch in BATCHES]
    out = {sync: run(FastSeesawLoss(num_classes=CLASSES, sync_counts=sync).double(), mine) for sync in (False, True)}
    out['ddp'] = {(sync, broadcast): ddp_counts(rank, sync, broadcast)
                  for sync in (False, True) for broadcast in (False, True)}
    classifier = FastSeesawClsLoss(num_classes=CLASSES, sync_counts=True)
    classifier(torch.zeros(2, CLASSES), torch.tensor([rank, 3]))
    out['classifier'] = classifier.cum_samples
    torch.save(out, os.path.join(folder, f'{rank}.pth'))
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('seesaw')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    run_ranks(rank_main, port, str(folder))
    return [torch.load(folder / f'{rank}.pth', weights_only=False) for rank in (0, 1)]


def counted(batches):
    """Counts after each batch, from the labels alone."""
    seen = torch.zeros(CLASSES + 1, dtype=torch.float64)
    for labels in batches:
        seen = seen + torch.tensor([labels.count(j) for j in range(CLASSES + 1)])
        yield seen


def test_summed_counts_are_those_of_all_ranks(ranks):
    """Also where a rank has no foreground or no row."""
    for number, expected in enumerate(counted([a + b for a, b in BATCHES])):
        for rank in (0, 1):
            assert torch.equal(ranks[rank][True][number][2], expected)


def test_without_the_option_each_rank_has_its_own(ranks):
    for rank in (0, 1):
        for found, expected in zip(ranks[rank][False], counted([batch[rank] for batch in BATCHES]), strict=True):
            assert torch.equal(found[2], expected)


def test_losses_are_those_of_the_summed_counts(ranks):
    """Each rank's losses and gradients equal those of one process that starts with the other ranks' counts."""
    for rank in (0, 1):
        others = FastSeesawLoss(num_classes=CLASSES).double()
        for number, labels in enumerate(batch[rank] for batch in BATCHES):
            mine = torch.bincount(torch.tensor(labels, dtype=torch.long), minlength=CLASSES + 1)
            others.cum_samples.copy_(ranks[rank][True][number][2] - mine)
            z = logits(labels, number)
            found = others(z, torch.tensor(labels, dtype=torch.long), avg_factor=10.0)
            sum(found.values()).backward()
            values, gradient, _ = ranks[rank][True][number]
            for name in found:
                assert torch.equal(values[name], found[name])
            assert torch.equal(gradient, z.grad)
    alone = [run_[0]['loss_cls_classes'] for run_ in ranks[0][False]]
    assert any(not torch.equal(a, b[0]['loss_cls_classes']) for a, b in zip(alone, ranks[0][True], strict=True))


@pytest.mark.parametrize('broadcast', [False, True])
def test_under_ddp(ranks, broadcast):
    """Summed counts agree whatever ``broadcast_buffers`` is; without the sum a broadcast loses a rank's history."""
    *_, total = counted([a + b for a, b in BATCHES])
    own = [list(counted([batch[rank] for batch in BATCHES])) for rank in (0, 1)]
    for rank in (0, 1):
        assert torch.equal(ranks[rank]['ddp'][True, broadcast].double(), total)
    assert torch.equal(ranks[0]['ddp'][False, broadcast].double(), own[0][-1])
    lost = own[0][-2] + (own[1][-1] - own[1][-2])
    assert torch.equal(ranks[1]['ddp'][False, broadcast].double(), lost if broadcast else own[1][-1])


def test_of_a_classifier(ranks):
    for rank in (0, 1):
        assert ranks[rank]['classifier'].tolist() == [1, 1, 0, 2]
