"""Learnable weight scaling, one image and one class at a time: logits, loss and gradients in float64."""
import numpy as np


def scaled_logits(x, weight, bias, scales):
    """f_j * (w_j . x + b_j), shapes (N, D), (C, D), (C, ), (C, )."""
    out = np.zeros((len(x), len(weight)))
    for i, features in enumerate(x):
        for j, row in enumerate(weight):
            out[i, j] = scales[j] * (sum(a * b for a, b in zip(row, features, strict=True)) + bias[j])
    return out


def loss_and_gradients(x, weight, bias, scales, labels):
    """Mean cross entropy of the scaled logits, and its gradients with respect to scales and features."""
    logits = scaled_logits(x, weight, bias, scales)
    plain = scaled_logits(x, weight, bias, np.ones_like(scales))
    loss, by_scale, by_x = 0., np.zeros(len(scales)), np.zeros(x.shape)
    for i, label in enumerate(labels):
        exps = np.exp(logits[i] - logits[i].max())
        shares = exps / exps.sum()
        loss -= np.log(shares[label]) / len(x)
        for j, share in enumerate(shares):
            error = (share - (j == label)) / len(x)
            by_scale[j] += error * plain[i, j]
            by_x[i] += error * scales[j] * weight[j]
    return loss, by_scale, by_x
