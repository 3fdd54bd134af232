"""Balanced Softmax by loops in float64, from the definition: p_j = n_j exp(z_j) / sum_k n_k exp(z_k)."""
import math

import numpy as np


def loss_and_gradient(logits, target, counts, weight=None, reduction='mean', avg_factor=None, ignore_index=-100):
    """Loss and its derivative with respect to the logits, ``w_i / divisor * (mass_i * p_ij - y_ij)``.

    ``target`` is a list of labels or of rows of soft labels. Without reduction the gradient is that of the sum.
    """
    rows, classes = len(logits), len(counts)
    losses, grad, kept = np.zeros(rows), np.zeros((rows, classes)), 0
    for i in range(rows):
        if np.ndim(target[i]) == 0:
            if target[i] == ignore_index:
                continue
            soft = [float(j == target[i]) for j in range(classes)]
        else:
            soft = [float(value) for value in target[i]]
        kept += 1
        top = max(float(logits[i][j]) for j in range(classes) if counts[j])
        scores = [counts[j] * math.exp(float(logits[i][j]) - top) if counts[j] else 0.0 for j in range(classes)]
        total = sum(scores)
        w = 1.0 if weight is None else float(weight[i])
        mass = sum(soft)
        for j in range(classes):
            p = scores[j] / total
            if soft[j]:
                losses[i] -= w * soft[j] * (math.log(counts[j]) + float(logits[i][j]) - top - math.log(total))
            grad[i, j] = w * (mass * p - soft[j])
    if reduction == 'none':
        return losses, grad
    divisor = 1.0 if reduction == 'sum' else (max(kept, 1) if avg_factor is None else avg_factor)
    return losses.sum() / divisor, grad / divisor
