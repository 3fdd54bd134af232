"""AutoAugment policies as plain data: (operation, probability, level) pairs, and what a level means.

Cubuk et al., AutoAugment: Learning Augmentation Policies from Data, CVPR 2019, arXiv:1805.09501, appendix: the policy
found on reduced CIFAR-10, which the long-tailed CIFAR recipes use. Levels run from 0 to 9.
"""

Step = tuple[str, float, int]
Policy = tuple[tuple[Step, Step], ...]

CIFAR10_POLICY: Policy = (
    (('invert', 0.1, 7), ('contrast', 0.2, 6)),
    (('rotate', 0.7, 2), ('translate_x', 0.3, 9)),
    (('sharpness', 0.8, 1), ('sharpness', 0.9, 3)),
    (('shear_y', 0.5, 8), ('translate_y', 0.7, 9)),
    (('auto_contrast', 0.5, 8), ('equalize', 0.9, 2)),
    (('shear_y', 0.2, 7), ('posterize', 0.3, 7)),
    (('color', 0.4, 3), ('brightness', 0.6, 7)),
    (('sharpness', 0.3, 9), ('brightness', 0.7, 9)),
    (('equalize', 0.6, 5), ('equalize', 0.5, 1)),
    (('contrast', 0.6, 7), ('sharpness', 0.6, 5)),
    (('color', 0.7, 7), ('translate_x', 0.5, 8)),
    (('equalize', 0.3, 7), ('auto_contrast', 0.4, 8)),
    (('translate_y', 0.4, 3), ('sharpness', 0.2, 6)),
    (('brightness', 0.9, 6), ('color', 0.2, 8)),
    (('solarize', 0.5, 2), ('invert', 0.0, 3)),
    (('equalize', 0.2, 0), ('auto_contrast', 0.6, 0)),
    (('equalize', 0.2, 8), ('equalize', 0.6, 4)),
    (('color', 0.9, 9), ('equalize', 0.6, 6)),
    (('auto_contrast', 0.8, 4), ('solarize', 0.2, 8)),
    (('brightness', 0.1, 3), ('color', 0.7, 0)),
    (('solarize', 0.4, 5), ('auto_contrast', 0.9, 3)),
    (('translate_y', 0.9, 9), ('translate_y', 0.7, 9)),
    (('auto_contrast', 0.9, 2), ('solarize', 0.8, 3)),
    (('equalize', 0.8, 8), ('invert', 0.1, 3)),
    (('translate_y', 0.7, 9), ('auto_contrast', 0.9, 1)),
)

# operation -> (magnitude at level 0, magnitude at level 9), linear in between; None: the operation has no magnitude.
# shear: slope; translate: share of the side; rotate: degrees; posterize: bits kept; solarize: threshold; others: change
# of the enhancement factor from 1.
MAGNITUDES = {
    'shear_x': (0., 0.3),
    'shear_y': (0., 0.3),
    'translate_x': (0., 150 / 331),
    'translate_y': (0., 150 / 331),
    'rotate': (0., 30.),
    'color': (0., 0.9),
    'contrast': (0., 0.9),
    'sharpness': (0., 0.9),
    'brightness': (0., 0.9),
    'posterize': (8., 4.),
    'solarize': (256., 0.),
    'auto_contrast': None,
    'equalize': None,
    'invert': None,
}

# Operations whose magnitude gets a random sign. In the code behind the CIFAR recipes rotation has none.
SIGNED = frozenset(
    ('shear_x', 'shear_y', 'translate_x', 'translate_y', 'color', 'contrast', 'sharpness', 'brightness'))


def magnitude_of(operation: str, level: int) -> float:
    """Magnitude of an operation at a level, unsigned.

    Args:
        operation (str): A key of :data:`MAGNITUDES`.
        level (int): 0 … 9.

    Returns:
        float: The magnitude; 0 for an operation that has none.

    Raises:
        ValueError: If the operation is unknown or the level out of range.
    """
    if operation not in MAGNITUDES:
        raise ValueError(f'operation {operation!r} is unknown; the operations are {sorted(MAGNITUDES)}.')
    if isinstance(level, bool) or level not in range(10):
        raise ValueError(f'level {level!r} of operation {operation!r} must be an integer from 0 to 9.')
    ends = MAGNITUDES[operation]
    if ends is None:
        return 0.
    return ends[0] + (ends[1] - ends[0]) / 9 * level
