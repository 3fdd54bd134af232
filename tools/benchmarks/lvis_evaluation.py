"""LVIS evaluation: image by image with match records, beside the official package and the host's metric.

- bbox, segm: what follows the detections, beside the official package (lvis 0.5.3): matching, accumulation and summary
  here; LVISResults, evaluate, accumulate and summarize there, all of it after the last image. ``equal``: precision and
  recall to the last bit.
- bbox + segm: ``StreamingLVISMetric`` beside the host's ``LVISMetric`` from end to end: reading the annotations,
  taking each data sample, converting and writing results, figures. The masks are RLE, for which the host's encoding is
  switched off; with ``--dense`` they are ``(N, H, W)`` of bool for both, as a mask head gives them, and both encode.
  ``equal``: each of the host's figures, rounded as it does, but for segm_APs, _APm and _APl, which it takes of other
  areas (docs/lvis_evaluation.md). Then bytes that a rank sends for an image, and seconds after the last image in two
  processes.

Making the detections is not timed. Each run is a process of its own, by turns, forked from one that has the imports;
memory is the peak above what was there before the timed part. The official package and with it the host's metric ask
for a name that NumPy no longer has (np.float), and get it.

    python tools/benchmarks/lvis_evaluation.py --json lvis_evaluation.json     # half an hour and more
    python tools/benchmarks/lvis_evaluation.py --quick                         # a minute or two
    python tools/benchmarks/lvis_evaluation.py --full                          # 19,809 images, ours only
"""
import argparse
import os
import tempfile
from functools import partial
from pathlib import Path

from fresh_process import PROCESSES, in_process
from harness import Record, Timing, add_arguments, compare, finish, hardware, interleave, paired_ratio, prepare
from lvis_data import write_data
from lvis_sides import run_side

PLACE = 'LVIS evaluation'
FULL_IMAGES = 19809
OTHER_AREAS = {'lvis/segm_APs', 'lvis/segm_APm', 'lvis/segm_APl'}  # the host's are of the boxes
RANKS = 2
Runs = dict[str, list[dict]]


def run(sides: tuple[str, ...], folder: Path, option: str, args: argparse.Namespace) -> Runs:
    """Interleaved runs: for each side what its runs found, in the order of the turns."""
    found: Runs = {side: [] for side in sides}

    def measure(side: partial, device: str) -> tuple[float, int]:
        result = side()
        found[side.args[0]].append(result)
        print(f'  {option} {side.args[0]}: {result["seconds"]:.2f} s', flush=True)
        return result['seconds'], result['peak']

    interleave({side: partial(in_process, side, run_side, side, folder, option, args.clock) for side in sides},
               args.runs, warmup=0, measure=measure)
    return found


def column(found: Runs, side: str, key: str) -> Timing:
    """One figure of a side's runs with their peaks."""
    return Timing([run[key] for run in found[side]], [run['peak'] for run in found[side]])


def records_of(found: Runs, setting: str, equal: bool | None, threads: int) -> list[Record]:
    """Seconds, seconds after the last image, and memory, of ours (the first side) beside the other, if it was run."""
    side, *others = found
    result = []
    for key, name in (('seconds', setting), ('last', f'{setting}, after the last image')):
        own = column(found, side, key)
        if others:
            result.append(compare(PLACE, name, own, column(found, others[0], key), equal=equal, threads=threads,
                                  unit='s'))
        else:
            result.append(alone(name, own.median, 's', own.peak, threads))
    memory = f'{setting}, peak memory'
    own = column(found, side, 'peak')
    if not others:
        return [*result, alone(memory, own.median, 'bytes', own.peak, threads)]
    other = column(found, others[0], 'peak')
    return [*result, Record(PLACE, memory, own.median, other.median, 'bytes', paired_ratio(other, own)[0], equal,
                            own.peak, hardware(threads=threads))]


def alone(setting: str, figure: float, unit: str, peak: int, threads: int) -> Record:
    """A record without a baseline."""
    return Record(PLACE, setting, figure, None, unit, None, None, peak, hardware(threads=threads))


def against_the_official(iou_type: str, folder: Path, setting: str, args: argparse.Namespace) -> list[Record]:
    """One kind of IoU beside the official package."""
    found = run(('ours', ) if args.full else ('ours', 'official'), folder, iou_type, args)
    equal = None if args.full else len({run['digest'] for runs in found.values() for run in runs}) == 1
    print(f'{iou_type}: {found["ours"][0]["kept"]} detections survive the cut and the federated filter')
    return records_of(found, f'{setting}, {iou_type}', equal, args.threads)


def against_the_host(folder: Path, setting: str, args: argparse.Namespace) -> list[Record]:
    """Both kinds at once beside the host's metric, and in two processes."""
    setting = f'{setting}, bbox + segm end to end{", dense masks" if args.dense else ""}'
    found = run(('streaming', ) if args.full else ('streaming', 'host'), folder, 'dense' if args.dense else 'rle', args)
    equal = None if args.full else all(same_figures(*pair) for pair in zip(*found.values(), strict=True))
    result = records_of(found, setting, equal, args.threads)
    own = found['streaming'][0]
    sent = alone(f'{setting}, bytes a rank sends for an image', own['sent'], 'bytes', own['peak'], args.threads)
    if not args.full:
        sent.baseline = found['host'][0]['sent']
        sent.ratio = sent.baseline / sent.ours
    ranks = run(('ranks', ), folder, str(RANKS), args)
    last = column(ranks, 'ranks', 'last')
    record = alone(f'{setting}, after the last image, {RANKS} processes', last.median, 's', last.peak, args.threads)
    record.equal = all(run['values'] == own['values'] for run in ranks['ranks'])  # with one process
    return [*result, sent, record]


def same_figures(ours: dict, host: dict) -> bool:
    """Whether the host's figures are ours; it rounds, gives -1 where there is none, and takes three of other areas."""
    figures = {key: float(f'{ours["values"].get(key, -1):.3f}') for key in host['values']}
    different = {key for key, value in host['values'].items() if value != figures[key]}
    print('  of other areas in the host: ' + ', '.join(
        f'{key} {figures[key]:.3f} (host {host["values"][key]:.3f})' for key in sorted(OTHER_AREAS)))
    return different <= OTHER_AREAS


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description="LVIS evaluation beside the official package and the host's metric.")
    add_arguments(parser)
    parser.add_argument('--images', type=int, default=2000, help='number of images (default: 2000)')
    parser.add_argument('--dets', type=int, default=300, help='detections an image (default: 300)')
    parser.add_argument('--classes', type=int, default=1203, help='number of classes (default: 1203)')
    parser.add_argument('--iou', nargs='+', choices=('bbox', 'segm', 'both'), default=['bbox', 'segm', 'both'],
                        help="boxes, masks, and both at once beside the host's metric (default: all three)")
    parser.add_argument('--dense', action='store_true', help='give both metrics dense masks, in both')
    parser.add_argument('--clock', choices=('wall', 'processor'), default='wall', help='processor: the time that the '
                        'process computes, for machines that do other work as well (default: wall)')
    parser.add_argument('--frequencies', metavar='FILE', help='JSON list of categories with image_count; default: a '
                        'power law')
    parser.add_argument('--full', action='store_true', help=f'{FULL_IMAGES} images unless --images is given, one run, '
                        'ours only')
    args = parser.parse_args()
    if args.device != 'cpu':
        parser.exit(1, 'error: the LVIS evaluation runs on the CPU, --device cuda has no meaning here.\n')
    if min(args.images, args.dets, args.classes) < 1:
        parser.exit(1, 'error: --images, --dets and --classes must be at least 1.\n')
    prepare(parser, args)
    os.environ['OMP_NUM_THREADS'] = str(args.threads)
    PROCESSES.set_forkserver_preload(['nbn_mm', 'mmdet.evaluation.metrics', 'lvis'])
    if args.quick:
        args.images, args.runs = min(args.images, 200), min(args.runs, 3)
    if args.full:
        args.images, args.runs = FULL_IMAGES if args.images == parser.get_default('images') else args.images, 1
    setting = f'{args.images} images x {args.dets} detections x {args.classes} classes'
    setting += ', processor time' if args.clock == 'processor' else ''
    records = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, args.images, args.dets, args.classes, args.frequencies, args.iou != ['bbox'])
        for iou_type in args.iou:
            records += against_the_host(folder, setting, args) if iou_type == 'both' else \
                against_the_official(iou_type, folder, setting, args)
    finish(records, args.json)


if __name__ == '__main__':
    main()
