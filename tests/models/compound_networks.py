"""A small network with CompoundBN before its classifier, and its training on long-tailed digits."""
import functools

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from nbn_mm.datasets.class_counts import ClassCounts
from nbn_mm.models.placement import apply_compound_bn

COUNTS = tuple(int(130 * 20**(-c / 9)) for c in range(10))
RECORD = ClassCounts(classes=tuple(map(str, range(10))), images=COUNTS)


class DigitsNet(nn.Module):
    """Three convolutions with batch norms ``bn1`` … ``bn3`` for digits of 8x8; CompoundBN where ``pattern`` says."""

    def __init__(self, seed=0, pattern='bn3', channels=16, **compound):
        super().__init__()
        torch.manual_seed(seed)
        for number, (before, after, size, stride) in enumerate(
                [(1, channels // 2, 3, 1), (channels // 2, channels, 3, 2), (channels, channels, 3, 1)], 1):
            self.add_module(f'conv{number}', nn.Conv2d(before, after, size, stride, padding=1, bias=False))
            self.add_module(f'bn{number}', nn.BatchNorm2d(after))
        apply_compound_bn(self, pattern=pattern, seed=seed, **compound)
        self.compound.set_class_counts(RECORD)

    def forward(self, x):
        for number in (1, 2, 3):
            x = F.relu(getattr(self, f'bn{number}')(getattr(self, f'conv{number}')(x)))
        return x.mean((2, 3))


@functools.cache
def digits():
    """Images ``(N, 1, 8, 8)`` and labels."""
    data = load_digits()
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1, torch.tensor(data.target).long()


@functools.cache
def long_tailed_digits(seed):
    """Training images and labels with ``COUNTS``, then those of a test without the training images."""
    images, labels = digits()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    train, test = [], []
    for label, count in enumerate(COUNTS):
        own = order[labels[order] == label]
        train.append(own[:count])
        test.append(own[130:])
    train, test = torch.cat(train), torch.cat(test)
    return images[train], labels[train], images[test], labels[test]


def train_digits(seed, split, steps, weight=1.0, **compound):
    """A network and a classifier after some steps of SGD on the loss of one or both paths."""
    images, labels, _, _ = long_tailed_digits(seed)
    net = DigitsNet(seed, split=split, **compound)
    classifier = nn.Linear(16, 10)
    steps_of = torch.optim.SGD([*net.parameters(), *classifier.parameters()], lr=0.2, momentum=0.9)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(len(labels), (64, ), generator=generator)
        net.compound.inform(labels[chosen])
        score = classifier(net(images[chosen]))
        loss = F.cross_entropy(score[:64], labels[chosen])
        if split:
            loss = loss + weight * F.cross_entropy(score[64:], labels[chosen])
        steps_of.zero_grad()
        loss.backward()
        steps_of.step()
    net.compound.forget()
    return net.eval(), classifier


@torch.no_grad()
def mean_responsibilities(net, layer, images):
    """Responsibilities at test of a layer, mean over positions, ``(N, K)``."""
    seen = []
    original = layer._expectation
    layer._expectation = lambda *args: seen.append(original(*args)) or seen[-1]
    try:
        net(images)
    finally:
        del layer._expectation
    return seen[0].mean((1, 3))
