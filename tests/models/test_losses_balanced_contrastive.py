"""The balanced contrastive loss against loops over features, and over two ranks against one."""
import os
import socket

import pytest
import torch
import torch.distributed as dist
from process_server import run_ranks
from references.balanced_contrastive import loss_of_each

from nbn_mm.models.losses import BalancedContrastiveLoss, balanced_contrastive_loss

LABEL = torch.tensor([0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 2])


def case(seed=0, views=12, classes=4, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(views, 5, generator=random, dtype=torch.float64).to(dtype)
    prototypes = torch.randn(classes, 5, generator=random, dtype=torch.float64).to(dtype)
    return features.requires_grad_(), prototypes.requires_grad_()


def expected(features, label, prototypes, temperature=0.5, class_average=True):
    return loss_of_each(features.tolist(), label.tolist(), prototypes.tolist(), temperature, class_average)


@pytest.mark.parametrize('class_average', [True, False])
@pytest.mark.parametrize('complement', [True, False])
def test_values_are_those_of_the_definition(class_average, complement):
    features, prototypes = case()
    protos = prototypes if complement else prototypes[:0]
    loss = balanced_contrastive_loss(features, LABEL, prototypes if complement else None, 0.5, class_average, 'none')
    reference = expected(features, LABEL, protos, class_average=class_average)
    assert torch.allclose(loss, torch.tensor(reference, dtype=torch.float64), rtol=1e-12)
    mean = balanced_contrastive_loss(features, LABEL, prototypes if complement else None, 0.5, class_average)
    assert mean.item() == pytest.approx(sum(reference) / len(reference), rel=1e-12)


def test_gradients_are_those_of_the_definition():
    """Central differences of the loops, in features and prototypes."""
    features, prototypes = case(1)
    balanced_contrastive_loss(features, LABEL, prototypes, 0.5).backward()
    step = 1e-5
    for tensor in (features, prototypes):
        for row, column in ((0, 0), (3, 4), (len(tensor) - 1, 2)):
            values = []
            for sign in (1, -1):
                moved = [t.detach().clone() for t in (features, prototypes)]
                moved[0 if tensor is features else 1][row, column] += sign * step
                values.append(sum(expected(moved[0], LABEL, moved[1])) / len(LABEL))
            assert float(tensor.grad[row, column]) == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-8)


def test_class_averaging_makes_the_denominator_blind_to_how_often_a_class_came():
    """Copies of a majority image change neither loss nor gradient of a minority image; without averaging they do."""
    features, prototypes = case(2, views=4)
    label = torch.tensor([1, 1, 0, 0])
    prototypes = prototypes.detach()
    prototypes[0] = features[2].detach()
    same = torch.cat([features[:3], features[2:3]]).detach()
    more = torch.cat([same, same[2:].repeat(10, 1)])
    more_label = torch.cat([label, label[2:].repeat(10)])
    for average in (True, False):
        few = balanced_contrastive_loss(same, label, prototypes, 0.5, average, 'none')[0]
        many = balanced_contrastive_loss(more, more_label, prototypes, 0.5, average, 'none')[0]
        assert torch.isclose(few, many, rtol=1e-12) == average


def test_class_complement_pushes_from_classes_that_the_batch_lacks():
    features, prototypes = case(3)
    balanced_contrastive_loss(features, LABEL, prototypes, 0.5).backward()
    assert (prototypes.grad[3] != 0).any()  # class 3 has no image here
    pushed = balanced_contrastive_loss(features, LABEL, prototypes, 0.5, reduction='none')
    alone = balanced_contrastive_loss(features, LABEL, None, 0.5, reduction='none')
    assert (pushed != alone).all()


def test_a_feature_without_a_partner_counts_nothing_without_prototypes():
    features, _ = case(4, views=3)
    label = torch.tensor([0, 0, 1])
    loss = balanced_contrastive_loss(features, label, None, 0.5)
    assert loss.item() == pytest.approx(sum(expected(features, label, features[:0])[:2]) / 2)
    only = balanced_contrastive_loss(features[:1], label[:1], None)
    only.backward()
    assert only.item() == 0 and torch.isfinite(features.grad).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(dtype):
    features, prototypes = case(5, dtype=dtype)
    with torch.autocast('cpu', torch.bfloat16):
        loss = balanced_contrastive_loss(features, LABEL, prototypes)
    assert loss.dtype == torch.float32
    assert torch.isclose(loss, balanced_contrastive_loss(features.float(), LABEL, prototypes.float()))


def test_the_class_weighs_and_passes_its_options():
    features, prototypes = case(6)
    loss = BalancedContrastiveLoss(temperature=0.2, loss_weight=0.35)
    assert torch.isclose(loss(features, LABEL, prototypes),
                         0.35 * balanced_contrastive_loss(features, LABEL, prototypes, 0.2))
    plain = BalancedContrastiveLoss(class_average=False, class_complement=False)
    assert torch.isclose(plain(features, LABEL), balanced_contrastive_loss(features, LABEL, None, 0.07, False))
    assert 'loss_weight=0.35' in repr(loss)


def test_bad_input():
    features, prototypes = case()
    for temperature in (0, -1.0, True):
        with pytest.raises(ValueError, match='temperature='):
            BalancedContrastiveLoss(temperature=temperature)
    with pytest.raises(ValueError, match='needs prototypes'):
        BalancedContrastiveLoss()(features, LABEL)
    with pytest.raises(ValueError, match='uses no prototypes'):
        BalancedContrastiveLoss(class_complement=False)(features, LABEL, prototypes)
    with pytest.raises(ValueError, match='no contrastive form'):
        balanced_contrastive_loss(features, torch.rand(12, 4), prototypes)
    with pytest.raises(ValueError, match='labels from 0 to 2 for 2 prototypes'):
        balanced_contrastive_loss(features, LABEL, prototypes[:2])
    with pytest.raises(ValueError, match='must be \\(C, D\\)'):
        balanced_contrastive_loss(features, LABEL, prototypes[:, :3])


def _rank(rank, port, path):
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    dist.init_process_group('gloo', rank=rank, world_size=2)
    features, prototypes = case(7)
    own = features.detach()[rank * 6:rank * 6 + 6].clone().requires_grad_()
    loss = balanced_contrastive_loss(own, LABEL[rank * 6:rank * 6 + 6], prototypes, 0.5, gather=True)
    loss.backward()
    torch.save((loss.detach(), own.grad, prototypes.grad), f'{path}/{rank}.pt')
    dist.destroy_process_group()


def test_gathered_over_two_ranks_equals_one_process(tmp_path):
    """The mean of the ranks' losses and gradients, which DDP takes, is that of the whole batch."""
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port = found.getsockname()[1]
    run_ranks(_rank, port, str(tmp_path))
    ranks = [torch.load(tmp_path / f'{rank}.pt') for rank in range(2)]
    features, prototypes = case(7)
    loss = balanced_contrastive_loss(features, LABEL, prototypes, 0.5)
    loss.backward()
    assert torch.isclose((ranks[0][0] + ranks[1][0]) / 2, loss.detach())
    assert torch.allclose(torch.cat([ranks[0][1], ranks[1][1]]) / 2, features.grad)
    assert torch.allclose((ranks[0][2] + ranks[1][2]) / 2, prototypes.grad)
