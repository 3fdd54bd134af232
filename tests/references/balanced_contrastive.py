"""The balanced contrastive loss by loops over features in float64, from its definition in words.

Each feature is compared with the rest of the batch and with one prototype a class. For a partner of its own class, the
loss is minus the logarithm of exp(similarity / t), divided by the sum over the classes of the mean of exp(similarity /
t) over the class's members; then the mean over partners, and over features. A feature is no member for itself.
"""
import math


def _unit(vector):
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length for v in vector]


def loss_of_each(features, labels, prototypes, temperature, class_average=True):
    """A list of losses; ``prototypes`` may be empty."""
    features = [_unit(f) for f in features]
    members = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(('feature', index, features[index]))
    for label, prototype in enumerate(prototypes):
        members.setdefault(label, []).append(('prototype', label, _unit(prototype)))
    losses = []
    for index, label in enumerate(labels):
        def score(member, own=features[index]):
            return math.exp(sum(a * b for a, b in zip(own, member[2], strict=True)) / temperature)

        total, partners = 0.0, []
        for name, group in members.items():
            group = [member for member in group if member[:2] != ('feature', index)]
            if name == label:
                partners = group
            if group:
                total += sum(map(score, group)) / (len(group) if class_average else 1)
        losses.append(-sum(math.log(score(p) / total) for p in partners) / len(partners) if partners else None)
    return losses
