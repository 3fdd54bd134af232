"""The owner of a backbone's CompoundBN layers: groups of classes, the batch's labels, the shared magnitude."""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...datasets.class_counts import ClassCounts
from ..layers import CompoundOptions
from ..layers.compound_bn import MIN_COUNT
from ..layers.magnitude import register_magnitude
from ..layers.sync_stats import sum_over_ranks

HOOK_LINE = "custom_hooks = [dict(type='CompoundBNHook')]"
COUNTS_LINE = "default_hooks = dict(class_counts=dict(type='ClassCountsHook'))"


def frequency_partition(counts: Sequence[int], num_groups: int) -> list[int]:
    """Group classes by training frequency: group 0 has the most frequent, the last the rarest.

    The groups have equal numbers of classes, or one more in the first ones. Of equally frequent classes the one of the
    lower label is taken first.

    Args:
        counts (Sequence[int]): Training images of each class, length C.
        num_groups (int): Groups.

    Returns:
        list[int]: The group of each class, length C.

    Raises:
        ValueError: If there are fewer classes than groups.
    """
    if num_groups > len(counts):
        raise ValueError(f'compound.num_components={num_groups}: {len(counts)} classes do not make so many groups for '
                         'the split path. Set compound.num_components to at most the number of classes, or '
                         'compound.split=False.')
    order = sorted(range(len(counts)), key=lambda label: (-counts[label], label))
    groups = [0] * len(counts)
    size, larger = divmod(len(counts), num_groups)
    start = 0
    for group in range(num_groups):
        end = start + size + (group < larger)
        for label in order[start:end]:
            groups[label] = group
        start = end
    return groups


class CompoundOwner(nn.Module):
    """Child ``compound`` of a backbone with CompoundBN.

    It learns the class counts from ``ClassCountsHook`` and the labels of a training batch from ``CompoundBNHook``, and
    tells the layers on the split path which component each image belongs to. Of all this nothing is in the state dict;
    with ``nbn`` the magnitude of all layers and components is, as ``compound.magnitude``.

    Args:
        options (CompoundOptions): The options of the layers.
        split (bool): Whether training has the split path.
        like (Tensor, optional): Gives device and dtype of the magnitude.
    """
    class_counts_at_test = False

    def __init__(self, options: CompoundOptions, split: bool, like: Tensor | None = None) -> None:
        super().__init__()
        self.options = options
        self.split = split
        self.groups: Tensor | None = None
        self.labels: Tensor | None = None
        self.informed = False  # whether whoever runs this forward has said if there are labels
        self.membership: Tensor | None = None  # of the split path that runs now, (N, K)
        if options.affine is not None:
            register_magnitude(self, 'magnitude', options.affine, like)

    def set_class_counts(self, record: ClassCounts) -> None:
        """Group the classes.

        Args:
            record (ClassCounts): The counts of the training set.
        """
        if self.split:
            self.groups = torch.tensor(frequency_partition(record.images, self.options.num_components))

    def inform(self, labels: Tensor | None) -> None:
        """Announce the labels of the next forward, or by None that it has the compound path alone.

        Args:
            labels (Tensor, optional): Shape ``(N, )``.
        """
        self.informed, self.labels = True, labels

    def forget(self) -> None:
        """End what :meth:`inform` began."""
        self.informed, self.labels = False, None

    def members(self, images: int) -> Tensor | None:
        """The component of each image on the split path, one-hot.

        Args:
            images (int): Images N of the batch.

        Returns:
            Tensor | None: Shape ``(N, K)``; None if this forward has no split path.

        Raises:
            RuntimeError: If nobody announced labels, or there are no class counts.
            ValueError: If the labels are not those of this batch or of these classes.
        """
        if not self.informed:
            raise RuntimeError('compound.split=True, but the backbone does not know the labels of this training batch. '
                               f'Add `{HOOK_LINE}`, which announces them, or set compound.split=False.')
        if self.labels is None:
            return None
        if self.groups is None:
            raise RuntimeError('compound.split=True groups classes by their training images, but there are no class '
                               f'counts. Add `{COUNTS_LINE}`.')
        if self.labels.shape != (images, ):
            raise ValueError(f'compound.split=True: the batch has {images} images, its labels have the shape '
                             f'{tuple(self.labels.shape)}; one label an image is expected.')
        if self.labels.device.type == 'cpu' and len(self.labels) and not (
                0 <= int(self.labels.min()) and int(self.labels.max()) < len(self.groups)):
            raise ValueError(f'compound.split=True: labels reach from {int(self.labels.min())} to '
                             f'{int(self.labels.max())}, but there are counts of {len(self.groups)} classes.')
        self.groups = self.groups.to(self.labels.device)
        return nn.functional.one_hot(self.groups[self.labels], self.options.num_components).float()

    def images_of_groups(self, sync: bool) -> tuple[Tensor, Tensor]:
        """Images of each group in the batch, and whether they are enough for moments, each ``(1, K)``."""
        images = self.membership.sum(0, keepdim=True)
        if sync:
            images = sum_over_ranks(images)
        return images, images >= MIN_COUNT

    def extra_repr(self) -> str:
        """Whether there is a split path."""
        return f'split={self.split}'
