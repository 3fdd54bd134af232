"""Memory and time of LVIS training annotations: ``LVISFormatDataset`` beside the host's ``LVISV1Dataset``.

A file with the annotations of LVIS v1 to an image (13, polygons of 50 vertices; 10 kB) is generated, a tenth of its
images by default: bytes and seconds grow linearly, so that LVIS v1 (100,170 images) has ten times the figures. Each run
is a process of its own, by turns, forked from one that has the imports. It builds the data set, reads all images once
through a data loader with workers, and tells

- seconds to load, how much memory was in use at the peak meanwhile, and how much is kept afterwards;
- after the pass, the memory of the process and its workers together (proportional set sizes: a page that n processes
  share counts 1/n for each), and what one worker has for itself, both without what they have before any annotations
  are there;
- how often the annotation file was read.

``equal``: all images have the same annotations, number by number. Needs Linux (``/proc/self/smaps_rollup``).

    python tools/benchmarks/annotation_memory.py --json annotation_memory.json     # 10 minutes
    python tools/benchmarks/annotation_memory.py --quick                           # a minute or two
"""
import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from fresh_process import PROCESSES, in_process
from harness import (
    Record,
    Timing,
    add_arguments,
    compare,
    finish,
    hardware,
    interleave,
    paired_ratio,
    peak_bytes,
    prepare,
)
from lvis_data import write_data

PLACE = 'annotation memory'
SIDES = dict(ours='LVISFormatDataset', host='LVISV1Dataset')
VERTICES = 50
FEW = 'few.json'


def memory(pid: int) -> tuple[int, int]:
    """Proportional and private bytes of a process."""
    fields = dict(line.split(':', 1) for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()[1:])
    size = {name: 1024 * int(fields[name].split()[0]) for name in ('Pss', 'Private_Clean', 'Private_Dirty')}
    return size['Pss'], size['Private_Clean'] + size['Private_Dirty']


def only_id(data_info: dict) -> Any:
    """The pipeline of the pass: what a worker returns of an image is its id."""
    return data_info['img_id']


def one_pass(dataset: Any, workers: int, start_method: str) -> tuple[int, float]:
    """Read all items with workers.

    Returns:
        tuple[int, float]: Proportional bytes of this process and its workers, private bytes of a worker on average.
    """
    from torch.utils.data import DataLoader
    loader = DataLoader(dataset, batch_size=16, shuffle=True, num_workers=workers, persistent_workers=True,
                        multiprocessing_context=start_method)
    for _ in loader:
        pass
    found = [memory(worker.pid) for worker in loader._iterator._workers]
    total = memory(os.getpid())[0] + sum(proportional for proportional, _ in found)
    loader._iterator._shutdown_workers()
    return total, statistics.mean(private for _, private in found)


def measure_side(side: str, path: str, workers: int, start_method: str) -> dict:
    """All figures of one side, in this process."""
    from mmdet.registry import DATASETS

    import nbn_mm  # noqa: F401, registers ours and has imported mmdet
    opened = []
    sys.addaudithook(lambda event, args: opened.append(1) if event == 'open' and args[0] == path else None)
    options = dict(check_images=False) if side == 'ours' else {}
    build = partial(DATASETS.build, dict(
        type=SIDES[side], data_prefix=dict(img=''), filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=[only_id], **options))
    few = build(default_args=dict(ann_file=str(Path(path).with_name(FEW))))  # what is imported on the way is no cost
    bare, bare_worker = one_pass(few, workers, start_method)
    before, peak, start = memory(os.getpid())[0], peak_bytes(reset=True), time.perf_counter()
    dataset = build(default_args=dict(ann_file=path))
    seconds, peak, reads = time.perf_counter() - start, peak_bytes() - peak, len(opened)
    kept = memory(os.getpid())[0] - before
    total, worker = one_pass(dataset, workers, start_method)
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        digest.update(json.dumps(dataset.get_data_info(index), sort_keys=True).encode())
    return dict(seconds=seconds, peak=max(peak, 0), kept=max(kept, 0), total=max(total - bare, 0),
                worker=max(worker - bare_worker, 0), reads=reads, digest=digest.hexdigest(), images=len(dataset))


def run(side: str, path: Path, args: argparse.Namespace) -> dict:
    """One run in a fresh process."""
    result = in_process(side, measure_side, side, str(path), args.workers, args.start_method)
    print(f'  {side}: ' + ', '.join(f'{key} {value / 2**20:.0f} MiB' if key not in ('seconds', 'reads') else
                                    f'{key} {value:.3g}' for key, value in result.items()
                                    if key not in ('digest', 'images')), flush=True)
    return result


def benchmark(path: Path, args: argparse.Namespace) -> list[Record]:
    """Interleaved runs and their records."""
    found: dict[str, list[dict]] = {side: [] for side in SIDES}

    def measure(side: partial, device: str) -> tuple[float, int]:
        result = side()
        found[side.args[0]].append(result)
        return result['seconds'], result['peak']

    timings = interleave({side: partial(run, side, path, args) for side in SIDES}, args.runs, warmup=0,
                         measure=measure)
    equal = len({(run['digest'], run['images']) for runs in found.values() for run in runs}) == 1
    setting = f'{args.images} images, {path.stat().st_size / 1e6:.0f} MB'
    records = [compare(PLACE, f'{setting}, load', timings['ours'], timings['host'], equal=equal, threads=args.threads,
                       unit='s')]
    for key, what in (('peak', 'peak while loading'), ('kept', 'kept after loading'),
                      ('total', f'process and {args.workers} workers ({args.start_method}) after a pass'),
                      ('worker', f'a worker for itself ({args.start_method}) after a pass')):
        ours, host = (Timing([max(run[key], 1) for run in found[side]], []) for side in SIDES)
        records.append(Record(PLACE, f'{setting}, {what}', ours.median, host.median, 'bytes',
                              paired_ratio(host, ours)[0], equal, timings['ours'].peak, hardware(threads=args.threads)))
    reads = [found[side][0]['reads'] for side in SIDES]
    records.append(Record(PLACE, f'{setting}, reads of the file', *reads, 'reads', reads[1] / reads[0], equal,
                          timings['ours'].peak, hardware(threads=args.threads)))
    return records


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description="Memory of LVIS annotations beside the host's class.")
    add_arguments(parser)
    parser.add_argument('--images', type=int, default=10000, help='number of images (default: 10000)')
    parser.add_argument('--workers', type=int, default=4, help='workers of the data loader (default: 4)')
    parser.add_argument('--start-method', choices=('fork', 'spawn'), default='fork', help='how workers start (default: '
                        "fork, mmengine's mp_start_method)")
    args = parser.parse_args()
    if args.device != 'cpu':
        parser.exit(1, 'error: annotations lie in the memory of the CPU, --device cuda has no meaning here.\n')
    if min(args.images, args.workers) < 1:
        parser.exit(1, f'error: --images={args.images} and --workers={args.workers} must be at least 1.\n')
    if not Path('/proc/self/smaps_rollup').is_file():
        parser.exit(1, 'error: needs Linux: /proc/self/smaps_rollup tells what processes share.\n')
    prepare(parser, args)
    os.environ['OMP_NUM_THREADS'] = str(args.threads)
    PROCESSES.set_forkserver_preload(['nbn_mm'])
    if args.quick:
        args.images, args.runs = min(args.images, 1500), min(args.runs, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'annotations.json'
        write_data(Path(folder), 16, 0, 1203, masks=False, vertices=VERTICES)
        path.rename(path.with_name(FEW))
        write_data(Path(folder), args.images, 0, 1203, masks=False, vertices=VERTICES)
        records = benchmark(path, args)
    finish(records, args.json)


if __name__ == '__main__':
    main()
