"""Seesaw by loops in float64, as the paper defines it; the last two logits of a proposal are its objectness."""
import math


def factor(i, j, scores, counts, p, q, eps):
    """S_ij = M_ij C_ij, with the floors of the public code: a count of 1, a score of eps."""
    n_i, n_j = max(counts[i], 1), max(counts[j], 1)
    mitigation = (n_j / n_i)**p if n_i > n_j else 1.0
    own = max(scores[i], eps)
    compensation = (scores[j] / own)**q if scores[j] > own else 1.0
    return mitigation * compensation


def row(logits, i, counts, p=0.8, q=2.0, eps=1e-2):
    """Loss of one row of label i, and its gradient with S held constant."""
    total = sum(math.exp(z) for z in logits)
    scores = [math.exp(z) / total for z in logits]
    s = [1.0 if j == i else factor(i, j, scores, counts, p, q, eps) for j in range(len(logits))]
    terms = [s[j] * math.exp(z) for j, z in enumerate(logits)]
    softened = [term / sum(terms) for term in terms]
    return -math.log(softened[i]), [value - (j == i) for j, value in enumerate(softened)]


def cross_entropy(logits, i):
    """Loss of one row, and its gradient."""
    return row(logits, i, [1] * len(logits), p=0, q=0)


def boxes(logits, labels, counts, weights=None, avg_factor=None, **kwargs):
    """(objectness, classes), the gradient of their sum, and the counts after this batch; means over the rows."""
    width = len(counts) - 1
    counts = [n + sum(label == j for label in labels) for j, n in enumerate(counts)]
    weights = [1.0] * len(labels) if weights is None else weights
    foreground = sum(label < width for label in labels)
    objectness = classes = 0.0
    gradient = []
    for z, label, weight in zip(logits, labels, weights, strict=True):
        loss, tail = cross_entropy(z[width:], int(label == width))
        share = weight / (avg_factor or len(labels))
        objectness += share * loss
        line = [0.0] * width + [share * value for value in tail]
        if label < width:
            loss, head = row(z[:width], label, counts[:width], **kwargs)
            share = weight / (avg_factor or foreground)
            classes += share * loss
            line[:width] = [share * value for value in head]
        gradient.append(line)
    return (objectness, classes), gradient, counts
