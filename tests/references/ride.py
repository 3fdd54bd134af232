"""RIDE in float64 loops over images, experts and classes: values and gradients by hand.

Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts, ICLR 2021, arXiv:2010.01809.
"""
import math

import numpy as np


def softmax(values):
    highest = max(values)
    exponentials = [math.exp(value - highest) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def effective_weights(counts, beta=0.9999):
    """Weights of classes (1 - beta) / (1 - beta^n), their sum the number of classes."""
    raw = [(1 - beta) / (1 - beta**n) for n in counts]
    return [value * len(counts) / sum(raw) for value in raw]


def temperatures(counts, factor, temperature=1.0):
    """The temperature of each class under deferred re-weighting."""
    total, num = sum(counts), len(counts)
    raw = [num * n / total * factor + (1 - factor) for n in counts]
    return [temperature * value / max(raw) for value in raw]


def ride(logits, labels, diversity_factor, temperature, shift=None, class_weights=None):
    """Loss and its gradient.

    Args:
        logits (np.ndarray): Shape (N, E, C).
        labels (list[int]): Classes.
        diversity_factor (float): Factor of the divergence.
        temperature (list[float]): One a class.
        shift (callable, optional): (label, class) -> what is added to the logit in the loss of an expert.
        class_weights (list[float], optional): Weight of a class in the loss of an expert; a weighted mean.

    Returns:
        tuple[float, np.ndarray]: The loss; its gradient, shape (N, E, C), with the mean logits held fixed.
    """
    num, experts, classes = logits.shape
    gradient = np.zeros_like(logits)
    mean_temperature = sum(temperature) / classes
    weights = [1.0 if class_weights is None else class_weights[label] for label in labels]
    loss = 0.0
    for i, label in enumerate(labels):
        average = [sum(logits[i, k, j] for k in range(experts)) / experts for j in range(classes)]
        target = softmax([average[j] / temperature[j] for j in range(classes)])
        for k in range(experts):
            shifted = [logits[i, k, j] + (shift(label, j) if shift else 0.0) for j in range(classes)]
            probability = softmax(shifted)
            loss -= weights[i] / sum(weights) * math.log(probability[label])
            own = softmax([logits[i, k, j] / temperature[j] for j in range(classes)])
            factor = diversity_factor * mean_temperature**2 / num
            for j in range(classes):
                loss += factor * target[j] * (math.log(target[j]) - math.log(own[j]))
                gradient[i, k, j] += weights[i] / sum(weights) * (probability[j] - (j == label))
                gradient[i, k, j] += factor * (own[j] - target[j]) / temperature[j]
    return loss, gradient


def routing_targets(logits, labels):
    """Whether one more expert helps after the first k + 1: these are wrong and some larger number of them is right."""
    num, experts, classes = logits.shape
    targets = np.zeros((num, experts - 1))
    for i, label in enumerate(labels):
        right = []
        for k in range(experts):
            total = [sum(logits[i, m, j] for m in range(k + 1)) for j in range(classes)]
            right.append(total.index(max(total)) == label)
        for k in range(experts - 1):
            targets[i, k] = float(not right[k] and any(right[k + 1:]))
    return targets
