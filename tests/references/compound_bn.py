"""Compound batch normalisation in float64, position by position and channel by channel, from the definition alone."""
import math

import numpy as np


def positions(x):
    """``(N, C, *)`` as a list of ``(image, vector of C)``."""
    x = np.asarray(x, dtype=np.float64)
    flat = x.reshape(*x.shape[:2], -1)
    return [(n, flat[n, :, s]) for n in range(flat.shape[0]) for s in range(flat.shape[2])]


def back(rows, shape):
    """Vectors of the positions as ``(N, C, *)``."""
    out = np.zeros((shape[0], shape[1], int(np.prod(shape[2:], dtype=int))))
    rows = iter(rows)
    for n in range(out.shape[0]):
        for s in range(out.shape[2]):
            out[n, :, s] = next(rows)
    return out.reshape(shape)


def e_step(x, mean, var, mixing, eps, tempering, group_size):
    """Responsibilities: one row a position, for each channel that of its group, ``(P, K, C)``."""
    num, channels = mean.shape
    found = []
    for _, vector in positions(x):
        rows = np.zeros((num, channels))
        for start in range(0, channels, group_size):
            scores = []
            for k in range(num):
                log = 0.0
                for c in range(start, start + group_size):
                    v = var[k, c] + eps
                    log += -0.5 * math.log(2 * math.pi * v) - (vector[c] - mean[k, c])**2 / (2 * v)
                scores.append(math.exp((log + math.log(mixing[start // group_size, k])) / group_size**tempering))
            for k in range(num):
                rows[k, start:start + group_size] = scores[k] / sum(scores)
        found.append(rows)
    return np.array(found)


def m_step(x, r):
    """Counts, means and biased variances under ``r``, each ``(K, C)``."""
    vectors = np.array([vector for _, vector in positions(x)])
    count = r.sum(0)
    mean = np.einsum('pkc,pc->kc', r, vectors) / count
    var = np.einsum('pkc,pkc->kc', r, (vectors[:, None] - mean)**2) / count
    return count, mean, var


def output(x, r, mean, var, weight, bias, eps):
    """Outputs of the components, mixed."""
    rows = []
    for p, (_, vector) in enumerate(positions(x)):
        row = np.zeros(len(vector))
        for k in range(len(mean)):
            for c in range(len(vector)):
                row[c] += r[p, k, c] * (weight[k, c] * (vector[c] - mean[k, c]) / math.sqrt(var[k, c] + eps)
                                        + bias[k, c])
        rows.append(row)
    return back(rows, np.shape(x))


def train_output(x, r, weight, bias, eps):
    """Output of a training forward for given responsibilities, all components well fed."""
    _, mean, var = m_step(x, r)
    return output(x, r, mean, var, weight, bias, eps)


def moved(running, new, rate):
    """Moving statistics after a step."""
    return running + rate * (new - running)


def numeric_gradient(function, array, upstream, step=1e-6):
    """Gradient of ``sum(function(array) * upstream)`` by central differences."""
    array = np.array(array, dtype=np.float64)
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        for sign in (1, -1):
            shifted = array.copy()
            shifted[index] += sign * step
            gradient[index] += sign * (function(shifted) * upstream).sum() / (2 * step)
    return gradient
