"""EQL and EQLv2 by loops in float64, from the papers' equations. The last class of EQLv2 is background."""
import math


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def softplus(z):
    """-log(1 - sigmoid(z))."""
    return z + math.log1p(math.exp(-z)) if z > 0 else math.log1p(math.exp(z))


def eql(logits, labels, frequencies, threshold, weights=None):
    """Loss of each proposal: -sum_j w_j log p_j with w_j = 1 - E T (1 - y_j), p_j = sigmoid(±z_j)."""
    losses = []
    for i, row in enumerate(logits):
        total = 0.0
        foreground = labels[i] != len(frequencies)
        for j, z in enumerate(row):
            if j == labels[i]:
                total += softplus(-z)
            elif not (foreground and frequencies[j] < threshold):
                total += softplus(z)
        losses.append(total * (1.0 if weights is None else weights[i]))
    return losses


def eqlv2(batches, num_classes, gamma=12, mu=0.8, alpha=4.0):
    """Loss of each batch ``(logits, labels, weights)``, whose gradients steer the weights of the next one."""
    positive, negative = [0.0] * num_classes, [0.0] * num_classes
    ratio = [100.0] * num_classes
    losses = []
    for logits, labels, weights in batches:
        push = [1 / (1 + math.exp(-gamma * (g - mu))) for g in ratio] + [1.0]
        total = 0.0
        for i, row in enumerate(logits):
            for j, z in enumerate(row):
                p = sigmoid(z)
                if j == labels[i]:
                    q = weights[i] * (1 + alpha * (1 - push[j]))
                    total += q * softplus(-z)
                    if j < num_classes:
                        positive[j] += q * (1 - p)
                else:
                    r = weights[i] * push[j]
                    total += r * softplus(z)
                    if j < num_classes:
                        negative[j] += r * p
        losses.append(total / len(logits))
        ratio = [a / (b + 1e-10) for a, b in zip(positive, negative, strict=True)]
    return losses
