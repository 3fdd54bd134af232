"""Greedy matching, and precision and recall of one category, in plain Python; shares nothing with the package."""


def greedy_matches(ious, counts, threshold):
    """What each detection meets at one threshold in one area range.

    Args:
        ious (list[list[float]]): By detection, in order of descending score, and annotation.
        counts (list[bool]): Whether each annotation counts in the area range.
        threshold (float): Lowest IoU of a match.

    Returns:
        list[str]: ``'true'``, ``'hidden'`` (an annotation that does not count) or ``'none'`` for each detection.
    """
    free, result = set(range(len(counts))), []
    for row in ious:
        candidates = [gt for gt in free if row[gt] >= threshold]
        best = max(candidates, key=lambda gt: (counts[gt], row[gt], gt), default=None)
        free.discard(best)
        result.append('none' if best is None else 'true' if counts[best] else 'hidden')
    return result


def curves(outcomes, annotations):
    """Interpolated precision at recalls 0, 0.01 … 1, and the final recall.

    Args:
        outcomes (list[str]): ``'true'``, ``'false'`` or ``'ignored'``, by descending score.
        annotations (int): Annotations that count, at least 1.
    """
    points, true, false = [], 0, 0
    for outcome in outcomes:
        true, false = true + (outcome == 'true'), false + (outcome == 'false')
        points.append((true / annotations, true / (true + false) if true else 0.0))
    precision = [max((p for r, p in points if r >= step / 100 - 1e-12), default=0.0) for step in range(101)]
    return precision, true / annotations
