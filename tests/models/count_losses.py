"""Inputs and checks of losses on class counts."""
import numpy as np
import torch
from mmengine.registry import MODELS

from nbn_mm.datasets import ClassCounts

COUNTS = [500, 60, 7, 1]


def record(counts=COUNTS):
    return ClassCounts([f'name{i}' for i in range(len(counts))], counts)


def loss_module(name, counts=COUNTS, **kwargs):
    loss = MODELS.build(dict(type=name, **kwargs))
    loss.set_class_counts(record(counts))
    return loss


def inputs(rows=7, classes=4, soft=False, dtype=torch.float64, scale=3.0, seed=0):
    """Logits in [-scale, scale]; soft labels mix two classes a row, as mixup does."""
    generator = torch.Generator().manual_seed(seed)
    logits = ((torch.rand(rows, classes, generator=generator, dtype=torch.float64) * 2 - 1) * scale).to(dtype)
    first = torch.randint(classes, (rows, ), generator=generator)
    if not soft:
        return logits.requires_grad_(), first
    share = torch.rand(rows, 1, generator=generator, dtype=torch.float64)
    second = (first + torch.arange(rows) % 3) % classes  # some rows mix an image with one of its own class
    one_hot = torch.nn.functional.one_hot
    return logits.requires_grad_(), share * one_hot(first, classes) + (1 - share) * one_hot(second, classes)


def check(loss, logits, expected, rtol=1e-11):
    """Value and gradient of a loss against those expected."""
    value, gradient = expected
    loss.sum().backward()
    np.testing.assert_allclose(loss.detach().numpy(), value, rtol=rtol)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=rtol, atol=1e-13)
