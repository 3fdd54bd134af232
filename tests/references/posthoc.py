"""Post-hoc calibration derived image by image and class by class, in plain Python floats."""
import math


def adjusted(logits, counts, tau):
    """Each logit less tau times the log of its class's share."""
    total = sum(counts)
    return [[z - tau * math.log(n / total) for z, n in zip(row, counts, strict=True)] for row in logits]


def log_n(logits, training_logits):
    """LogN with the statistics of a list of training logits."""
    columns = list(zip(*training_logits, strict=True))
    means = [math.fsum(column) / len(column) for column in columns]
    stds = [math.sqrt(math.fsum((z - m)**2 for z in column) / len(column))
            for column, m in zip(columns, means, strict=True)]
    low = min(means)
    return [[(z - (m - low)) / s for z, m, s in zip(row, means, stds, strict=True)] for row in logits]


def tau_normalized(features, weight, tau):
    """Scores of the re-scaled weights, from the features."""
    out = []
    for x in features:
        row = []
        for w in weight:
            norm = math.sqrt(sum(v * v for v in w))
            row.append(sum(a * b for a, b in zip(x, w, strict=True)) / norm**tau)
        out.append(row)
    return out


def iif(logits, counts):
    """Each logit times the log of the inverse share of its class."""
    return [[z * -math.log(n / sum(counts)) for z, n in zip(row, counts, strict=True)] for row in logits]


def accuracy_of_resampled(labels, predictions, order, factor, forward, copies):
    """Accuracy on a test set whose classes are repeated to follow a long tail.

    Args:
        labels (list[int]): True classes.
        predictions (list[int]): Predicted classes.
        order (list[int]): Classes from the most to the least frequent of the training set.
        factor (float): Largest over smallest class.
        forward (bool): Whether the frequent classes are the frequent ones here, too.
        copies (int): How often an image of the largest class is repeated; the more, the less is lost by rounding.
    """
    right = total = 0
    places = order if forward else order[::-1]
    for label, prediction in zip(labels, predictions, strict=True):
        place = places.index(label)
        times = round(copies * (1 / factor)**(place / (len(order) - 1)))
        images = sum(other == label for other in labels)
        right += times / images * (label == prediction)
        total += times / images
    return 100 * right / total
