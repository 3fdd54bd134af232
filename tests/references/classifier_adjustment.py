"""MiSLAS, DisAlign, IIF and MaxNorm by loops over plain Python numbers, with gradients by hand."""
import math


def smoothing(counts, head, tail, shape):
    """Smoothing of each class."""
    most, least = max(counts), min(counts)
    out = []
    for count in counts:
        t = 1.0 if most == least else (count - least) / (most - least)
        if shape == 'concave':
            part = math.sin(t * math.pi / 2)
        elif shape == 'convex':
            part = 1 + math.sin(3 * math.pi / 2 + t * math.pi / 2)
        else:
            part = t
        out.append(tail + (head - tail) * part)
    return out


def softmax(row):
    top = max(row)
    exponentials = [math.exp(z - top) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def smoothed_loss(logits, targets, eps, spread):
    """Losses of rows and their gradients; targets are labels or rows of soft labels."""
    losses, gradients = [], []
    for row, target in zip(logits, targets, strict=True):
        number = len(row)
        shares = target if isinstance(target, list) else [float(j == target) for j in range(number)]
        q = [0.0] * number
        for label, share in enumerate(shares):
            for j in range(number):
                if spread == 'others':
                    q[j] += share * (1 - eps[label] if j == label else eps[label] / (number - 1))
                else:
                    q[j] += share * (eps[label] / number + (1 - eps[label] if j == label else 0.0))
        p = softmax(row)
        losses.append(-sum(qj * math.log(pj) for qj, pj in zip(q, p, strict=True)))
        gradients.append([sum(q) * pj - qj for qj, pj in zip(q, p, strict=True)])
    return losses, gradients


def reweighted_loss(logits, targets, counts, rho):
    """Losses of rows weighted by (1 / share) ** rho, of mean 1 over classes, and their gradients."""
    raw = [(sum(counts) / n)**rho for n in counts]
    weights = [len(counts) * w / sum(raw) for w in raw]
    losses, gradients = [], []
    for row, target in zip(logits, targets, strict=True):
        shares = target if isinstance(target, list) else [float(j == target) for j in range(len(row))]
        p = softmax(row)
        q = [share * w for share, w in zip(shares, weights, strict=True)]
        losses.append(-sum(qj * math.log(pj) for qj, pj in zip(q, p, strict=True)))
        gradients.append([sum(q) * pj - qj for qj, pj in zip(q, p, strict=True)])
    return losses, gradients


def disalign(features, weight, bias, alpha, beta, v, b):
    """Calibrated logits of each row."""
    out = []
    for x in features:
        z = [sum(w * c for w, c in zip(row, x, strict=True)) + offset for row, offset in zip(weight, bias, strict=True)]
        sigma = 1 / (1 + math.exp(-(sum(w * c for w, c in zip(v, x, strict=True)) + b)))
        out.append([sigma * (a * zc + s) + (1 - sigma) * zc for zc, a, s in zip(z, alpha, beta, strict=True)])
    return out


def projected(weight, radius):
    """Rows within the ball of a radius."""
    out = []
    for row in weight:
        norm = math.sqrt(sum(w * w for w in row))
        out.append([w * radius / norm for w in row] if norm > radius else list(row))
    return out
