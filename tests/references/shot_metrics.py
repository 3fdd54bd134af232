"""Group accuracy and calibration error image by image, in plain Python; shares nothing with the package."""
from fractions import Fraction


def group(count, few=20, many=100):
    return 'few' if count < few else 'many' if count > many else 'medium'


def hit(scores, label, k):
    """Whether the label is among the k best of a list of scores; of equal scores the lower index wins."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    return label in order[:k]


def group_accuracy(scores, labels, counts, k, average='micro'):
    """Dict of exact fractions in percent; absent groups are absent."""
    per_class = {}
    for row, label in zip(scores, labels, strict=True):
        per_class.setdefault(label, []).append(hit(row, label, k))
    result = {}
    for name in ('all', 'many', 'medium', 'few'):
        members = [hits for label, hits in per_class.items() if name in ('all', group(counts[label]))]
        if members and average == 'micro':
            result[name] = Fraction(100 * sum(map(sum, members)), sum(map(len, members)))
        elif members:
            result[name] = sum(Fraction(100 * sum(hits), len(hits)) for hits in members) / len(members)
    groups = [value for name, value in result.items() if name != 'all']
    result['hmean'] = 0 if 0 in groups else len(groups) / sum(1 / value for value in groups)
    return {name: float(value) for name, value in result.items()}


def calibration_error(confidence, correct, num_bins):
    """ECE in percent; the bins are (m/M, (m+1)/M], 0 belongs to the first."""
    error = 0.0
    for m in range(num_bins):
        inside = [i for i, value in enumerate(confidence)
                  if m / num_bins < value <= (m + 1) / num_bins or (m == 0 and value == 0)]
        if inside:
            accuracy = sum(bool(correct[i]) for i in inside) / len(inside)
            mean = sum(float(confidence[i]) for i in inside) / len(inside)
            error += len(inside) / len(confidence) * abs(accuracy - mean)
    return 100 * error
