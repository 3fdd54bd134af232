"""Where the frequency groups of an LVIS evaluation come from."""
from collections.abc import Mapping, Sequence
from typing import Any

from ...datasets.class_counts import ClassCounts
from ...datasets.frequency_groups import COMMON, RARE, check_frequency_thresholds, frequency_of
from ..functional.lvis_ground_truth import LVISGroundTruth
from .class_group_metric import HOOK_LINE

SOURCES = ('annotations', 'class_counts')


class FrequencySource:
    """The option ``frequency`` of ``StreamingLVISMetric``.

    Args:
        frequency (str | Mapping): ``'annotations'``: the file's ``frequency``. ``dict(rare=10, common=100)``:
            thresholds on the file's ``image_count``. ``'class_counts'`` or ``dict(source='class_counts', rare=10,
            common=100)``: thresholds on the training images that ``ClassCountsHook`` counts.

    Raises:
        TypeError, ValueError: If it is none of these, or the thresholds make no groups.
    """

    def __init__(self, frequency: str | Mapping[str, Any]) -> None:
        given = dict(source=frequency) if isinstance(frequency, str) else frequency
        if not isinstance(given, Mapping) or set(given) - {'source', 'rare', 'common'} \
                or given.get('source', SOURCES[0]) not in SOURCES:
            raise ValueError(f"frequency={frequency!r} of StreamingLVISMetric must be 'annotations', 'class_counts', "
                             "dict(rare=10, common=100) or dict(source='class_counts', rare=10, common=100).")
        self.source: str = given.get('source', SOURCES[0])
        self.rare: int = given.get('rare', RARE)
        self.common: int = given.get('common', COMMON)
        check_frequency_thresholds(self.rare, self.common)
        self.by_file = frequency == 'annotations' or dict(given) == dict(source='annotations')

    @property
    def needs_counts(self) -> bool:
        """bool: Whether the groups come from the training set."""
        return self.source == 'class_counts'

    def check(self, ground_truth: LVISGroundTruth) -> None:
        """Raise ValueError if the annotation file lacks what the option needs."""
        wanted, found = ('frequency', ground_truth.frequencies) if self.by_file else \
            ('image_count', ground_truth.image_counts)
        if not self.needs_counts and found is None:
            ways = ["frequency='class_counts' of StreamingLVISMetric (training images as counted by ClassCountsHook)"]
            if self.by_file and ground_truth.image_counts is not None:
                ways.insert(0, "frequency=dict(rare=10, common=100) (the file's image_count)")
            raise ValueError(f'the categories of {ground_truth.source} have no `{wanted}`, from which APr, APc and APf '
                             f'would follow. Set {", or ".join(ways)}; or convert the file to LVIS format.')

    def groups(self, ground_truth: LVISGroundTruth, record: ClassCounts | None) -> list[str]:
        """``'r'``, ``'c'`` or ``'f'`` of each category.

        Args:
            ground_truth (LVISGroundTruth): The annotation file.
            record (ClassCounts, optional): The training set's counts.

        Raises:
            RuntimeError: If counts are needed and there are none.
        """
        if self.by_file:
            return list(ground_truth.frequencies)
        return frequency_of(self.train_images(ground_truth, record), self.rare, self.common)

    def train_images(self, ground_truth: LVISGroundTruth, record: ClassCounts | None) -> Sequence[int] | None:
        """Training images of each category from the same source; None if the file doesn't say."""
        if not self.needs_counts:
            return ground_truth.image_counts
        return self._needed(record).images

    def train_instances(self, ground_truth: LVISGroundTruth, record: ClassCounts | None) -> Sequence[int] | None:
        """Training instances of each category, likewise."""
        return self._needed(record).instances if self.needs_counts else ground_truth.instance_counts

    def _needed(self, record: ClassCounts | None) -> ClassCounts:
        if record is None:
            raise RuntimeError("frequency='class_counts' of StreamingLVISMetric needs the class counts of the training "
                               f'set, and got none. Add to the config:\n    {HOOK_LINE}')
        return record

    def __str__(self) -> str:
        if self.by_file:
            return '`frequency` of the annotation file'
        what = 'counted training images' if self.needs_counts else '`image_count` of the annotation file'
        return f'{what}, r <= {self.rare} < c <= {self.common} < f'
