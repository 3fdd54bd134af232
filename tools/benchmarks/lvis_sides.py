"""The sides of ``lvis_evaluation.py``, each run in a process of its own.

Of ``annotations.json`` and ``detections.pkl`` a side makes a dict with ``seconds``, ``last`` (seconds after the last
image), ``peak`` (bytes above what was there before the timed part) and what its results are.
"""
import hashlib
import logging
import os
import pickle
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from harness import peak_bytes

PROTOCOL = 2  # with which mmengine pickles the results of a rank
CLOCKS = dict(wall=time.perf_counter, processor=time.process_time)
clock = 'wall'


def now() -> float:
    """Seconds of the clock in use."""
    return CLOCKS[clock]()


def detections(folder: Path) -> Iterator[tuple]:
    """The images of ``detections.pkl``, one at a time."""
    with (folder / 'detections.pkl').open('rb') as stream:
        while True:
            try:
                yield pickle.load(stream)
            except EOFError:
                return


class Masks(list):
    """A list of RLE that lets the host's metric do what it does with a tensor, at no cost."""

    def detach(self) -> 'Masks':
        """Itself."""
        return self

    cpu = numpy = detach


def sample(image: tuple, dense: bool) -> dict:
    """A data sample as the hosts' evaluators get it, from an item of :func:`detections`."""
    import torch
    from pycocotools import mask
    img_id, scores, labels, boxes, rles = image
    corners = torch.from_numpy(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)).float()
    masks = torch.from_numpy(mask.decode(rles).transpose(2, 0, 1).astype(bool)) if dense else \
        Masks(dict(size=rle['size'], counts=rle['counts']) for rle in rles)
    return dict(img_id=img_id, ori_shape=tuple(rles[0]['size']), pred_instances=dict(
        bboxes=corners, scores=torch.from_numpy(scores), labels=torch.from_numpy(labels).long(), masks=masks))


def official_names() -> None:
    """The official package asks for a name that NumPy no longer has; its warnings are many."""
    logging.disable(logging.WARNING)
    if 'float' not in vars(np):
        np.float = float


def digest(precision: np.ndarray, recall: np.ndarray) -> str:
    """Equal for equal bits."""
    return hashlib.sha256(b''.join(np.ascontiguousarray(part).tobytes() for part in (precision, recall))).hexdigest()


def ours(folder: Path, iou_type: str) -> dict:
    """Matching, accumulation and summary of this package; annotations and detections are there already."""
    from nbn_mm.evaluation.functional import LVISAccumulator, LVISGroundTruth, LVISMatcher, summarize
    ground_truth = LVISGroundTruth(folder / 'annotations.json', with_masks=iou_type == 'segm')
    matcher, accumulator = LVISMatcher(ground_truth, iou_type), LVISAccumulator(ground_truth, iou_type)
    before, seconds, kept = peak_bytes(reset=True), 0.0, 0
    for img_id, scores, labels, boxes, rles in detections(folder):
        start = now()
        records = matcher.match(img_id, scores, labels, boxes, rles)
        accumulator.add(records)
        seconds += now() - start
        kept += len(records)
    start = now()
    result = accumulator.accumulate()
    summarize(result, ground_truth.frequencies)
    last = now() - start
    return dict(seconds=seconds + last, last=last, peak=peak_bytes() - before, kept=kept,
                digest=digest(result.precision, result.recall))


def official(folder: Path, iou_type: str) -> dict:
    """The same of the official package, from a list of detections in memory."""
    official_names()
    from lvis import LVIS, LVISEval, LVISResults
    ground_truth = LVIS(str(folder / 'annotations.json'))
    results = []
    for img_id, scores, labels, boxes, rles in detections(folder):
        shapes = [dict(bbox=box) for box in boxes.tolist()] if iou_type == 'bbox' else \
            [dict(segmentation=rle) for rle in rles]
        results += [dict(image_id=img_id, category_id=label + 1, score=score, **shape)
                    for score, label, shape in zip(scores.tolist(), labels.tolist(), shapes, strict=True)]
    before, start = peak_bytes(reset=True), now()
    evaluation = LVISEval(ground_truth, LVISResults(ground_truth, results), iou_type)
    evaluation.run()
    seconds = now() - start
    return dict(seconds=seconds, last=seconds, peak=peak_bytes() - before, kept=len(results),
                digest=digest(evaluation.eval['precision'], evaluation.eval['recall']))


def metric(folder: Path, dense: bool, host: bool) -> dict:
    """An evaluator from end to end: built (it reads the annotations), given each image, and asked for its figures."""
    logging.disable(logging.INFO)
    if host:
        official_names()
        from mmdet.evaluation.metrics import LVISMetric, lvis_metric
        if not dense:
            lvis_metric.encode_mask_results = list  # the masks are RLE already
        build = LVISMetric
    else:
        from nbn_mm.evaluation import StreamingLVISMetric
        build = StreamingLVISMetric
    before, start = peak_bytes(reset=True), now()
    evaluator = build(str(folder / 'annotations.json'), metric=['bbox', 'segm'])
    seconds, images = now() - start, 0
    for image in detections(folder):
        given = [sample(image, dense)]
        start = now()
        evaluator.process(None, given)
        seconds += now() - start
        images += 1
    sent = len(pickle.dumps(evaluator.results, protocol=PROTOCOL))
    start = now()
    values = evaluator.evaluate(images)
    last = now() - start
    return dict(seconds=seconds + last, last=last, peak=peak_bytes() - before, sent=sent / images, values=values)


def _rank(rank: int, ranks: int, folder: Path, name: str) -> None:
    import torch.distributed as dist

    from nbn_mm.evaluation import StreamingLVISMetric
    use_clock(name)
    logging.disable(logging.INFO)
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=ranks)
    before, start = peak_bytes(reset=True), now()
    evaluator = StreamingLVISMetric(str(folder / 'annotations.json'), metric=['bbox', 'segm'])
    for index, image in enumerate(detections(folder)):
        if index % ranks == rank:
            evaluator.process(None, [sample(image, dense=False)])
    sent = len(pickle.dumps(evaluator.results, protocol=PROTOCOL)) / max(len(evaluator.results), 1)
    dist.barrier()
    last = now()
    values = evaluator.evaluate(0)
    end = now()
    if rank == 0:
        (folder / 'ranks.pkl').write_bytes(pickle.dumps(
            dict(seconds=end - start, last=end - last, peak=peak_bytes() - before, sent=sent, values=values)))
    dist.destroy_process_group()


def ranks(folder: Path, number: int) -> dict:
    """Our evaluator in several processes that share the images, over gloo; what the first one found."""
    import torch.multiprocessing
    with tempfile.TemporaryDirectory() as scratch:  # where a rank puts its records, as in a run
        os.chdir(scratch)
        (folder / 'store').unlink(missing_ok=True)
        torch.multiprocessing.start_processes(_rank, (number, folder, clock), nprocs=number, start_method='forkserver')
        os.chdir(folder)
    return pickle.loads((folder / 'ranks.pkl').read_bytes())


def use_clock(name: str) -> None:
    """Measure by ``'wall'``, or by ``'processor'``, the time that this process computes."""
    global clock
    clock = name


def run_side(side: str, folder: Path, option: str, name: str) -> dict:
    """What one side finds, in this process.

    Args:
        side (str): ``'ours'``, ``'official'``, ``'streaming'``, ``'host'`` or ``'ranks'``.
        folder (Path): With the data.
        option (str): The kind of IoU (ours, official), ``'rle'`` or ``'dense'`` (streaming, host), or the number of
            processes (ranks).
        name (str): Of the clock.
    """
    use_clock(name)
    if side == 'ranks':
        return ranks(folder, int(option))
    if side in ('streaming', 'host'):
        return metric(folder, option == 'dense', side == 'host')
    return (ours if side == 'ours' else official)(folder, option)
