"""The official LVIS evaluation, image by image while inference runs."""
import logging
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from mmengine.dist import get_rank, get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path
from mmengine.logging import print_log
from mmengine.registry import METRICS

from ...datasets.class_counts import ClassCounts, parse_class_counts
from ...datasets.lvis_format import read_lvis
from ..functional.lvis_accumulate import LVISAccumulator, LVISResult
from ..functional.lvis_ground_truth import LVISGroundTruth
from ..functional.lvis_matching import LVISMatcher
from ..functional.lvis_protocol import IOU_TYPES
from ..functional.lvis_records import LVISRecords
from ..functional.lvis_result_file import LVISResultPart, join_result_parts, top_detections
from ..functional.lvis_summary import frequency_by_size, per_class, summarize
from ..functional.lvis_table import (
    class_occurrences,
    describe_groups,
    format_lvis_table,
    lvis_class_table,
    write_lvis_class_csv,
)
from .frequency_source import FrequencySource
from .lvis_checks import check_classes, check_metric, check_outputs
from .lvis_detections import LVISDetections


@METRICS.register_module()
class StreamingLVISMetric(BaseMetric):
    """AP and AR of LVIS for boxes and masks, equal to the official package's (lvis 0.5.3), as fractions.

    Gupta et al., LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019, arXiv:1908.03195. Each rank
    matches its own images in :meth:`process` and keeps 24 bytes a detection that counts; of the masks only these
    are encoded. At the end records are collected and a table is logged. The metrics are ``lvis/bbox_`` and
    ``lvis/segm_`` with ``AP, AP50, AP75, APs, APm, APl, APr, APc, APf, AR@300, ARs@300, ARm@300, ARl@300``; one without
    categories with ground truth is left out. Images of the file for which no predictions come count as images without
    detections. Needs no host; the predictions are those of mmdet.

    Args:
        ann_file (str): Annotation file in LVIS format. Label i is the category with the i-th smallest id.
        metric (str | Sequence[str]): ``'bbox'``, ``'segm'`` or both. Defaults to both.
        frequency (str | Mapping): Where the groups rare, common and frequent come from: ``'annotations'``, the file's
            ``frequency``; ``dict(rare=10, common=100)``, thresholds on the file's ``image_count``; ``'class_counts'``
            or ``dict(source='class_counts', rare=…, common=…)``, thresholds on the training set's images, which
            ``ClassCountsHook`` hands over. Defaults to ``'annotations'``.
        frequency_by_size (bool): Also AP per frequency group and size, ``lvis/bbox_APr_s``, … Defaults to False.
        per_class_csv (str, optional): File into which the main process writes one row a class at each evaluation (the
            last one stays). Relative to the folder the command runs in. Defaults to None.
        outfile_prefix (str, optional): Write the result files ``{outfile_prefix}.bbox.json`` and ``.segm.json`` for the
            LVIS evaluation server, with the best 300 detections of each image. Defaults to None.
        format_only (bool): Only write the result files; the annotation file then needs no annotations. Defaults to
            False.
        backend_args (dict, optional): Of mmengine's file backend, for ``ann_file``.
        collect_device (str): ``'cpu'`` or ``'gpu'``; see mmengine's ``BaseMetric``.
        prefix (str, optional): Another prefix than ``'lvis'``.
        collect_dir (str, optional): A folder that all ranks share, for collecting on the CPU.

    Raises:
        FileNotFoundError: If the annotation file is missing.
        ValueError: If an option is unusable, or the file lacks what is needed.

    Example:
        >>> test_evaluator = dict(type='StreamingLVISMetric', ann_file='data/lvis_v1/annotations/lvis_v1_val.json')
    """
    default_prefix: str | None = 'lvis'

    def __init__(self, ann_file: str, metric: str | Sequence[str] = IOU_TYPES,
                 frequency: str | Mapping[str, Any] = 'annotations', frequency_by_size: bool = False,
                 per_class_csv: str | PathLike | None = None, outfile_prefix: str | None = None,
                 format_only: bool = False, backend_args: dict | None = None, collect_device: str = 'cpu',
                 prefix: str | None = None, collect_dir: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.iou_types = check_metric(metric)
        check_outputs(per_class_csv, outfile_prefix, format_only)
        self.frequency = FrequencySource(frequency)
        self.frequency_by_size = frequency_by_size
        self.per_class_csv = per_class_csv
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self.class_counts: ClassCounts | None = None
        self._parts: dict[str, LVISResultPart] = {}
        with get_local_path(ann_file, backend_args=backend_args) as path:
            self._read(path)

    def _read(self, path: str) -> None:
        content = read_lvis(path, 'ann_file of StreamingLVISMetric') if self.format_only else path
        if self.format_only:
            # Files of a server's test images have neither annotations nor, perhaps, what the evaluation needs.
            images = [dict(image, neg_category_ids=[], not_exhaustive_category_ids=[]) for image in content['images']]
            content = dict(images=images, categories=content['categories'], annotations=[])
        self.ground_truth = LVISGroundTruth(content, with_masks='segm' in self.iou_types)
        if self.format_only:
            return
        if not len(self.ground_truth.areas):
            raise ValueError(f'{self.ground_truth.source} holds no annotation that counts, so that there is nothing to '
                             'evaluate. Check ann_file of StreamingLVISMetric; for images without ground truth set '
                             'format_only=True and outfile_prefix.')
        self.frequency.check(self.ground_truth)
        self._matchers = {iou_type: LVISMatcher(self.ground_truth, iou_type) for iou_type in self.iou_types}

    @property
    def dataset_meta(self) -> dict | None:
        """dict | None: Meta information of the test set, whose ``classes`` must be the categories of the file."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict | None) -> None:
        self._dataset_meta = dataset_meta
        classes = (dataset_meta or {}).get('classes')
        if classes is not None and not isinstance(classes, str):
            check_classes(classes, self.ground_truth.cat_names, 'the test set',
                          'ann_file and metainfo.classes of test_dataloader.dataset')

    @property
    def class_counts_at_test(self) -> bool:
        """bool: Whether ``ClassCountsHook`` must find counts for a test."""
        return self.frequency.needs_counts and not self.format_only

    def set_class_counts(self, record: ClassCounts | Mapping) -> None:
        """Take the counts of the training set; ``ClassCountsHook`` calls this before training, validation and test.

        Args:
            record (ClassCounts | Mapping): The record, or what its ``to_dict`` makes.

        Raises:
            ValueError: If the record doesn't fit the categories of the file.
        """
        record = parse_class_counts(record)
        unnamed = record.classes == tuple(str(label) for label in range(len(self.ground_truth.cat_ids)))
        if not unnamed:
            check_classes(record.classes, self.ground_truth.cat_names, 'the training set with its class counts',
                          'train_dataloader.dataset, `class_counts` of ClassCountsHook')
        self.class_counts = record

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Match the predictions of a batch and keep the records.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): See :class:`~nbn_mm.evaluation.metrics.lvis_detections.LVISDetections`.

        Raises:
            RuntimeError: If ``frequency`` needs class counts and there are none.
            KeyError: If a sample lacks a key.
            ValueError: If an image is unknown, or its predictions are unusable.
        """
        if not self.format_only:
            self._groups()
        for sample in data_samples:
            detections = LVISDetections(sample, len(self.ground_truth.cat_ids))
            detections.img_id = self.ground_truth.img_ids[self.ground_truth.index(detections.img_id)]  # a NumPy id too
            results = [self._process_image(detections, iou_type) for iou_type in self.iou_types]
            self.results.append(results)

    def _process_image(self, detections: LVISDetections, iou_type: str) -> LVISRecords | None:
        """Write and match one kind of results; each mask is encoded once."""
        img_id, labels, scores = detections.img_id, detections.labels, detections.scores(iou_type)
        if self.outfile_prefix is None:
            used = self._matchers[iou_type].kept(img_id, scores, labels)
        else:
            used = top_detections(scores)
        if iou_type == 'bbox':
            shapes = detections.boxes[used]
        else:
            shapes = detections.rles(used, self.ground_truth.image_size(img_id))
        if self.outfile_prefix is not None:
            self._part(iou_type).write(img_id, self.ground_truth.cat_ids[labels[used]].tolist(), scores[used], shapes)
        if self.format_only:
            return None
        given = dict(boxes=shapes) if iou_type == 'bbox' else dict(masks=shapes)
        return self._matchers[iou_type].match(img_id, scores[used], labels[used], **given)

    def _part(self, iou_type: str) -> LVISResultPart:
        if iou_type not in self._parts:
            self._parts[iou_type] = LVISResultPart(self.outfile_prefix, iou_type, get_rank())
        return self._parts[iou_type]

    def _groups(self) -> list[str]:
        return self.frequency.groups(self.ground_truth, self.class_counts)

    def evaluate(self, size: int) -> dict[str, float]:
        """Collect the records of all ranks and compute the metrics.

        Args:
            size (int): Not used: what a sampler padded is told by the image ids.

        Returns:
            dict[str, float]: The metrics, on all ranks.
        """
        if self.outfile_prefix is not None:
            for iou_type in self.iou_types:
                self._part(iou_type).close()
            self._parts = {}
        return super().evaluate(sys.maxsize)

    def compute_metrics(self, results: list[list[LVISRecords]]) -> 'OrderedDict[str, float]':
        """The official results, the log and the files.

        Args:
            results (list): For each image the records of each kind of IoU, in any order; repeated images count once.

        Returns:
            OrderedDict[str, float]: ``'bbox_AP'``, … as fractions.
        """
        if self.outfile_prefix is not None:
            for iou_type in self.iou_types:
                path = join_result_parts(self.outfile_prefix, iou_type, get_world_size(), self.ground_truth.img_ids)
                print_log(f'StreamingLVISMetric: wrote {path}.', logger='current')
        if self.format_only:
            return OrderedDict()
        groups = self._groups()
        found: dict[str, LVISResult] = {}
        for index, iou_type in enumerate(self.iou_types):
            accumulator = LVISAccumulator(self.ground_truth, iou_type)
            for records in results:
                accumulator.add(records[index])
            num_images = len(accumulator)
            found[iou_type] = accumulator.accumulate()
        summaries = {iou_type: summarize(result, groups) for iou_type, result in found.items()}
        by_size = {iou_type: frequency_by_size(result, groups) for iou_type, result in found.items()} \
            if self.frequency_by_size else None
        ap = {iou_type: per_class(result) for iou_type, result in found.items()}
        self._log(summaries, by_size, groups, ~np.isnan(ap[self.iou_types[0]]), num_images)
        if self.per_class_csv is not None:
            self._write_classes(ap, groups)
        metrics = OrderedDict()
        for iou_type, summary in summaries.items():
            metrics.update({f'{iou_type}_{name}': value for name, value in summary.items() if value > -1})
            if by_size is not None:
                metrics.update({f'{iou_type}_AP{group}_{size}': value
                                for (group, size), value in by_size[iou_type].items() if value > -1})
        return metrics

    def _log(self, summaries: Mapping, by_size: Mapping | None, groups: list[str], present: np.ndarray, num_images: int
             ) -> None:
        total = len(self.ground_truth.img_ids)
        if num_images < total:
            print_log(f'StreamingLVISMetric: predictions of {num_images:,} of {total:,} images came; the others count '
                      'as images without detections. Check test_dataloader.dataset (indices, filter_cfg) if that is '
                      'not meant.', logger='current', level=logging.WARNING)
        print_log(f'LVIS evaluation of {total:,} images, in percent\n'
                  f'categories with ground truth: {describe_groups(groups, present)}; groups by {self.frequency}\n'
                  f'{format_lvis_table(summaries, by_size)}', logger='current')

    def _write_classes(self, ap: Mapping[str, np.ndarray], groups: list[str]) -> None:
        truth = self.ground_truth
        images, instances = class_occurrences(truth)
        rows = lvis_class_table(truth.cat_names, groups, self.frequency.train_images(truth, self.class_counts),
                                self.frequency.train_instances(truth, self.class_counts), images, instances, ap)
        write_lvis_class_csv(rows, self.per_class_csv)
