"""Losses with a label's own margins, weights or left-out classes, by loops in float64 from their definitions."""
import math

import numpy as np


def ldam(z, label, counts, scale, max_margin):
    """Logits minus a margin proportional to n^(-1/4)."""
    roots = [count**-0.25 for count in counts]
    return [value - (scale * max_margin * roots[j] / max(roots) if j == label else 0.0) for j, value in enumerate(z)]


def ala(z, label, counts, scale):
    """Logits minus a margin of rarity times difficulty."""
    quantity = 1 / math.log2(counts[label] / min(counts) + 1)
    difficulty = (1 - z[label] / scale) / 2
    return [value - (scale * quantity * difficulty if j == label else 0.0) for j, value in enumerate(z)]


def gcl(z, label, counts, scale, factor, margin, noise):
    """Logits minus half-normal noise whose amplitude is logarithmic in n; ``noise`` is standard normal."""
    out = []
    for j, value in enumerate(z):
        spread = math.log(max(counts) / min(counts))
        size = math.log(max(counts) / counts[j]) / spread if spread else 0.0
        out.append(value - scale * factor * size * min(abs(noise[j]) / 3, 1.0) - (scale * margin if j == label else 0))
    return out


def eql(z, label, counts, threshold, gamma, draws):
    """Rare classes, of other rows, leave the denominator where the draw says so: their logit becomes -inf."""
    rare = [count / sum(counts) < threshold for count in counts]
    return [-math.inf if rare[j] and j != label and draws[j] < gamma else value for j, value in enumerate(z)]


def logit_adjustment(z, label, counts, tau):
    """Logits plus tau times the log share."""
    return [value + tau * math.log(counts[j] / sum(counts)) for j, value in enumerate(z)]


def effective_weights(counts, beta):
    """1 / (1 + beta + ... + beta^(n-1)), then scaled to a sum of C."""
    weights = [1 / sum(beta**power for power in range(count)) for count in counts]
    return [weight * len(counts) / sum(weights) for weight in weights]


def loss_and_gradient(logits, target, adjusted, class_weight=None, average='rows', gamma=0.0, weight=None,
                      reduction='mean', avg_factor=None, ignore_index=-100):
    """Loss and derivative by the logits; ``adjusted(z, label, i, k)`` gives the logits of row i, pair k, and is taken
    as a constant shift. Without reduction the gradient is that of the sum."""
    rows, classes = np.shape(logits)
    losses, grad, mass, kept, pair = np.zeros(rows), np.zeros((rows, classes)), np.zeros(rows), 0, 0
    for i in range(rows):
        soft = target[i] if np.ndim(target[i]) else [float(j == target[i]) for j in range(classes)]
        kept += np.ndim(target[i]) > 0 or target[i] != ignore_index
        for label in range(classes):
            if not soft[label]:
                continue
            z = adjusted([float(v) for v in logits[i]], label, i, pair)
            pair += 1
            top = max(z)
            total = sum(math.exp(v - top) for v in z)
            ce = math.log(total) - (z[label] - top)
            p = math.exp(-ce)
            w = soft[label] * (1.0 if class_weight is None else class_weight[label])
            mass[i] += w
            losses[i] += w * (1 - p)**gamma * ce
            slope = (1 - p)**gamma + (gamma * (1 - p)**(gamma - 1) * p * ce if gamma else 0.0)
            for j in range(classes):
                grad[i, j] += w * slope * (math.exp(z[j] - top) / total - float(j == label))
    factor = max(kept, 1) / mass.sum() if class_weight is not None and average == 'weights' and mass.sum() else 1.0
    for i in range(rows):
        w = factor * (1.0 if weight is None else float(weight[i]))
        losses[i] *= w
        grad[i] *= w
    if reduction == 'none':
        return losses, grad
    divisor = 1.0 if reduction == 'sum' else (max(kept, 1) if avg_factor is None else avg_factor)
    return losses.sum() / divisor, grad / divisor
