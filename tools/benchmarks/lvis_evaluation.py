"""LVIS evaluation: image by image with match records, beside the official package (lvis 0.5.3) on the same detections.

Timed is what follows the detections: matching, accumulation and summary here; LVISResults, evaluate, accumulate and
summarize there, all of it after the last image. Reading the annotations and making the detections is not timed. Each
run is a process of its own, ours and the official one by turns; memory is the peak above what was there before the
timed part. The official package asks for a name that NumPy no longer has (np.float), and gets it.

    python tools/benchmarks/lvis_evaluation.py --json lvis_evaluation.json     # 20 minutes and more
    python tools/benchmarks/lvis_evaluation.py --quick                         # a minute or two
    python tools/benchmarks/lvis_evaluation.py --full                          # 19,809 images, ours only
"""
import argparse
import json
import os
import pickle
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]  # the package of this checkout, installed or not, and the data

import numpy as np  # noqa: E402
from lvis_data import write_data  # noqa: E402

SIDES = ('ours', 'official')
FULL_IMAGES = 19809


def detections(folder: Path) -> Iterator[tuple]:
    """The images of ``detections.pkl``, one at a time."""
    with (folder / 'detections.pkl').open('rb') as stream:
        while True:
            try:
                yield pickle.load(stream)
            except EOFError:
                return


def peak(reset: bool = False) -> int:
    """Bytes of memory that this process has held at most, since the last reset where the system has one (Linux).

    ``ru_maxrss`` of a new process starts at its parent's peak on Linux, so it only serves elsewhere.
    """
    status = Path('/proc/self/status')
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
    if reset:
        Path('/proc/self/clear_refs').write_text('5')
    return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith('VmHWM')).split()[1])


def run_ours(folder: Path, iou_type: str) -> dict:
    """Seconds (all, and after the last image), peak memory and curves of this package."""
    from nbn_mm.evaluation.functional import LVISAccumulator, LVISGroundTruth, LVISMatcher, summarize
    ground_truth = LVISGroundTruth(folder / 'annotations.json', with_masks=iou_type == 'segm')
    matcher, accumulator = LVISMatcher(ground_truth, iou_type), LVISAccumulator(ground_truth, iou_type)
    before, seconds, kept = peak(reset=True), 0.0, 0
    for img_id, scores, labels, boxes, rles in detections(folder):
        start = time.perf_counter()
        records = matcher.match(img_id, scores, labels, boxes, rles)
        accumulator.add(records)
        seconds += time.perf_counter() - start
        kept += len(records)
    start = time.perf_counter()
    result = accumulator.accumulate()
    summarize(result, ground_truth.frequencies)
    last = time.perf_counter() - start
    return dict(seconds=seconds + last, last=last, peak=peak() - before, kept=kept, precision=result.precision,
                recall=result.recall)


def run_official(folder: Path, iou_type: str) -> dict:
    """The same of the official package, from a list of detections in memory."""
    import logging
    logging.disable(logging.WARNING)
    if 'float' not in vars(np):
        np.float = float
    from lvis import LVIS, LVISEval, LVISResults
    ground_truth = LVIS(str(folder / 'annotations.json'))
    results = []
    for img_id, scores, labels, boxes, rles in detections(folder):
        shapes = [dict(bbox=box) for box in boxes.tolist()] if iou_type == 'bbox' else \
            [dict(segmentation=rle) for rle in rles]
        results += [dict(image_id=img_id, category_id=label + 1, score=score, **shape)
                    for score, label, shape in zip(scores.tolist(), labels.tolist(), shapes, strict=True)]
    before, start = peak(reset=True), time.perf_counter()
    evaluation = LVISEval(ground_truth, LVISResults(ground_truth, results), iou_type)
    evaluation.run()
    seconds = time.perf_counter() - start
    return dict(seconds=seconds, last=seconds, peak=peak() - before, kept=len(results),
                precision=evaluation.eval['precision'], recall=evaluation.eval['recall'])


def in_process(side: str, folder: Path, iou_type: str) -> dict:
    """One run in a fresh process."""
    out = folder / f'{side}.pkl'
    subprocess.run([sys.executable, __file__, '--side', side, '--folder', str(folder), '--iou', iou_type], check=True,
                   env={**os.environ, 'OMP_NUM_THREADS': '1'})
    with out.open('rb') as file:
        return pickle.load(file)


def hardware() -> str:
    """Processor and number of cores."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return f'{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores'


def record(setting: str, ours: float, baseline: float | None, unit: str, equal: bool | None, peak_bytes: int) -> dict:
    """One record of the JSON file; a ratio above 1 means that ours needs less."""
    return dict(place='LVIS evaluation', setting=setting, ours=ours, baseline=baseline, unit=unit,
                ratio=None if baseline is None else baseline / max(ours, 1e-9), equal=equal, peak_bytes=peak_bytes,
                hardware=hardware())


def compare(folder: Path, iou_type: str, runs: int, setting: str, sides: tuple[str, ...],
            report: Callable = print) -> list[dict]:
    """Interleaved runs of one kind of IoU: seconds, seconds after the last image, and memory."""
    results = {side: [] for side in sides}
    equal = True if len(sides) > 1 else None
    for number in range(runs):
        for side in sides:
            results[side].append(in_process(side, folder, iou_type))
            report(f'  {iou_type} run {number + 1}/{runs} {side}: {results[side][-1]["seconds"]:.2f} s', flush=True)
        latest = [results[side][-1] for side in sides]
        if equal:
            equal = all(np.array_equal(latest[0][key], latest[1][key]) for key in ('precision', 'recall'))
        for run in latest:
            del run['precision'], run['recall']

    def median(side: str, key: str) -> float | None:
        return statistics.median(run[key] for run in results[side]) if side in results else None

    for side in sides:
        seconds = [run['seconds'] for run in results[side]]
        report(f'{setting}, {iou_type}, {side}: median {statistics.median(seconds):.2f} s of {runs} runs, '
               f'{min(seconds):.2f} to {max(seconds):.2f} s; {median(side, "peak") / 2**20:.0f} MiB at the peak')
    ours = results['ours'][0]
    report(f'{iou_type}: {ours["kept"]} detections survive the cut and the federated filter; precision and recall '
           f'equal: {equal}')
    setting, peak_bytes = f'{setting}, {iou_type}', int(median('ours', 'peak'))
    return [
        record(setting, median('ours', 'seconds'), median('official', 'seconds'), 's', equal, peak_bytes),
        record(f'{setting}, after the last image', median('ours', 'last'), median('official', 'last'), 's', equal,
               peak_bytes),
        record(f'{setting}, peak memory', peak_bytes, median('official', 'peak'), 'bytes', equal, peak_bytes),
    ]


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description='LVIS evaluation beside the official package.')
    parser.add_argument('--images', type=int, default=2000, help='number of images (default: 2000)')
    parser.add_argument('--dets', type=int, default=300, help='detections an image (default: 300)')
    parser.add_argument('--classes', type=int, default=1203, help='number of classes (default: 1203)')
    parser.add_argument('--runs', type=int, default=5, help='interleaved runs (default: 5)')
    parser.add_argument('--iou', nargs='+', choices=('bbox', 'segm'), default=['bbox', 'segm'], help='boxes, masks')
    parser.add_argument('--frequencies', metavar='FILE', help='JSON list of categories with image_count; default: a '
                        'power law')
    parser.add_argument('--quick', action='store_true', help='300 images, 3 runs')
    parser.add_argument('--full', action='store_true', help=f'{FULL_IMAGES} images unless --images is given, one run, '
                        'ours only')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='the evaluation runs on the CPU')
    parser.add_argument('--json', metavar='FILE', help='write the records here')
    parser.add_argument('--side', choices=SIDES, help=argparse.SUPPRESS)  # one run, in a process of its own
    parser.add_argument('--folder', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        result = (run_ours if args.side == 'ours' else run_official)(args.folder, args.iou[0])
        with (args.folder / f'{args.side}.pkl').open('wb') as file:
            pickle.dump(result, file)
        return
    if args.device != 'cpu':
        parser.exit(1, 'error: the LVIS evaluation runs on the CPU, --device cuda has no meaning here.\n')
    if min(args.images, args.dets, args.classes, args.runs) < 1:
        parser.exit(1, 'error: --images, --dets, --classes and --runs must be at least 1.\n')
    if args.quick:
        args.images, args.runs = min(args.images, 300), min(args.runs, 3)
    if args.full:
        args.images, args.runs = FULL_IMAGES if args.images == parser.get_default('images') else args.images, 1
    setting = f'{args.images} images x {args.dets} detections x {args.classes} classes'
    records = []
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder), args.images, args.dets, args.classes, args.frequencies, 'segm' in args.iou)
        for iou_type in args.iou:
            records += compare(Path(folder), iou_type, args.runs, setting, SIDES[:1] if args.full else SIDES)
    print(f'{"setting":<72}{"ours":>14}{"baseline":>14}{"ratio":>8}  equal')
    for entry in records:
        cells = [format(entry[key], '.4g') if entry[key] is not None else '-' for key in ('ours', 'baseline', 'ratio')]
        print(f'{entry["setting"]:<72}{cells[0]:>14}{cells[1]:>14}{cells[2]:>8}  {entry["equal"]}')
    if args.json:
        Path(args.json).write_text(json.dumps(records, indent=2) + '\n')


if __name__ == '__main__':
    main()
