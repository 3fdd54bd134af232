"""Figures of published long-tailed sets, to tell a copy that is not the published one."""
import logging
from dataclasses import dataclass

from mmengine.logging import print_log

from .image_list import ImageList


@dataclass(frozen=True)
class KnownSplit:
    """A published split.

    Args:
        images (int): Number of images.
        classes (int): Number of classes.
        largest (int): Images of the largest class.
        smallest (int): Images of the smallest class.
    """
    images: int
    classes: int
    largest: int
    smallest: int


KNOWN_SETS: dict[str, dict[str, KnownSplit]] = {
    'ImageNet-LT': dict(
        train=KnownSplit(115846, 1000, 1280, 5), val=KnownSplit(20000, 1000, 20, 20),
        test=KnownSplit(50000, 1000, 50, 50)),
    'Places-LT': dict(
        train=KnownSplit(62500, 365, 4980, 5), val=KnownSplit(7300, 365, 20, 20),
        test=KnownSplit(36500, 365, 100, 100)),
    'iNaturalist 2018': dict(train=KnownSplit(437513, 8142, 1000, 2), val=KnownSplit(24426, 8142, 3, 3)),
}


def differences(images: ImageList, name: str, split: str) -> list[str]:
    """How a list differs from the published split.

    Args:
        images (ImageList): The list.
        name (str): A key of :data:`KNOWN_SETS`.
        split (str): Its split.

    Returns:
        list[str]: Sentences; empty if the figures agree.
    """
    known, counts = KNOWN_SETS[name][split], images.counts()
    found = dict(images=len(images.paths), classes=int((counts > 0).sum()), largest=int(counts.max()),
                 smallest=int(counts[counts > 0].min()))
    words = dict(images='{} images', classes='{} classes', largest='a largest class of {} images',
                 smallest='a smallest class of {} images')
    return [f'{text.format(found[key])}, published: {getattr(known, key)}' for key, text in words.items()
            if found[key] != getattr(known, key)]


def check_known(images: ImageList, name: str, split: str) -> None:
    """Warn if a list is not the published split: its accuracies are not comparable then."""
    found = differences(images, name, split)
    if found:
        print_log(f'{images.source} is not the published {name} ({split}): {"; ".join(found)}. Accuracies are not '
                  'comparable with published ones.', logger='current', level=logging.WARNING)
