"""What the benchmarks share: interleaved runs, ratios, peak memory, records, the table and the JSON file.

Ours and the baseline run by turns, each as often, and the order of a turn alternates, so that a drifting machine drifts
for both. The ratio is the median of the paired ratios. It says how many times as fast (or as small) ours is as the
baseline, so more is better; only where a place is measured as a cost (``cost=True``) is it ours over the baseline, so
less is better.
"""
import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

RUNS = 5
RESAMPLES = 4000


@dataclass
class Record:
    """One line of the JSON file.

    Args:
        place (str): Where a user waits.
        setting (str): Sizes and kind of the measurement.
        ours (float): Median of ours, in ``unit``.
        baseline (float, optional): Median of what a user would use instead; None: it was not run.
        unit (str): Unit of both.
        ratio (float, optional): Median of the paired ratios, see this module.
        equal (bool, optional): Whether both gave the same result in this very run; None: not compared.
        peak_bytes (int, optional): Peak memory of ours above what was there before; None: not measured.
        hardware (str): Processor or GPU.
    """
    place: str
    setting: str
    ours: float
    baseline: float | None
    unit: str
    ratio: float | None
    equal: bool | None
    peak_bytes: int | None
    hardware: str


@dataclass
class Timing:
    """Seconds and peak memory of the counted runs of one side."""
    seconds: list[float]
    peaks: list[int]

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)

    @property
    def peak(self) -> int:
        """Median of the peaks, bytes."""
        return int(statistics.median(self.peaks))


def add_arguments(parser: argparse.ArgumentParser, runs: int = RUNS) -> None:
    """The options that every benchmark has."""
    parser.add_argument('--runs', type=int, default=runs, help=f'interleaved runs of each side (default: {runs})')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='where it runs (default: cpu)')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch on the CPU (default: 1)')
    parser.add_argument('--quick', action='store_true', help='smaller sizes: a minute or two on two cores')
    parser.add_argument('--json', metavar='FILE', help='write the records here')


def prepare(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check the shared options and set the number of threads; ends with one line on wrong ones."""
    import torch
    if min(args.runs, args.threads) < 1:
        parser.exit(1, f'error: --runs={args.runs} and --threads={args.threads} must be at least 1.\n')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.exit(1, 'error: --device cuda: this torch sees no CUDA device.\n')
    if args.json and not Path(args.json).resolve().parent.is_dir():
        parser.exit(1, f'error: --json={args.json}: its folder does not exist.\n')
    torch.set_num_threads(args.threads)


def hardware(device: str = 'cpu', threads: int | None = None) -> str:
    """Name of the GPU, or processor with the number of cores and, where given, of threads."""
    if device == 'cuda':
        import torch
        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    used = '' if threads is None else f', {threads} thread' + 's' * (threads > 1)
    return f'{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores{used}'


def peak_bytes(reset: bool = False, device: str = 'cpu') -> int:
    """Bytes that were held at most, since the last reset: of the GPU's allocator, or of this process.

    A process's peak can be reset on Linux only; ``ru_maxrss`` of a new process starts at its parent's peak there, so it
    only serves elsewhere.
    """
    if device == 'cuda':
        import torch
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    status = Path('/proc/self/status')
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
    if reset:
        Path('/proc/self/clear_refs').write_text('5')
    return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith('VmHWM')).split()[1])


def timed(function: Callable[[], Any], device: str = 'cpu') -> tuple[float, int]:
    """Seconds and peak bytes (above what was there before) of one call; on a GPU all its kernels included."""
    if device == 'cuda':
        import torch
        torch.cuda.synchronize()
    before, start = peak_bytes(True, device), time.perf_counter()
    function()
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start, max(peak_bytes(False, device) - before, 0)


def interleave(sides: Mapping[str, Callable[[], Any]], runs: int, device: str = 'cpu', warmup: int = 1,
               measure: Callable = timed) -> dict[str, Timing]:
    """Run all sides by turns.

    Args:
        sides (Mapping): Name → function without arguments.
        runs (int): Counted turns.
        device (str): ``'cpu'`` or ``'cuda'``. Defaults to ``'cpu'``.
        warmup (int): Turns before these. Defaults to 1.
        measure (Callable): Gives seconds and peak bytes of one call. Defaults to :func:`timed`.

    Returns:
        dict[str, Timing]: Name → its runs, in the order of the turns.
    """
    results = {name: Timing([], []) for name in sides}
    for turn in range(-warmup, runs):
        for name in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            seconds, peak = measure(sides[name], device)
            if turn >= 0:
                results[name].seconds.append(seconds)
                results[name].peaks.append(peak)
    return results


def paired_ratio(numerator: Timing, denominator: Timing) -> tuple[float, float, float]:
    """Median of the paired ratios, with the bootstrap interval that holds it in 95 % of the resamples."""
    ratios = np.divide(numerator.seconds, denominator.seconds)
    draws = np.random.default_rng(0).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[draws], axis=1), (0.025, 0.975))
    return float(np.median(ratios)), float(low), float(high)


def compare(place: str, setting: str, ours: Timing, baseline: Timing, *, equal: bool | None, device: str = 'cpu',
            threads: int | None = None, items: int | None = None, unit: str = 'ms', cost: bool = False) -> Record:
    """The record of a pair of timings; prints its line with the spread.

    Args:
        place (str): See :class:`Record`.
        setting (str): See :class:`Record`.
        ours (Timing): Of ours.
        baseline (Timing): Of the baseline, of the same turns.
        equal (bool, optional): Whether their results agree.
        device (str): Where it ran.
        threads (int, optional): Threads of torch, named with the processor.
        items (int, optional): Items a run: the figures become ``unit`` (``'images/s'``) instead of milliseconds.
        unit (str): ``'ms'``, ``'s'``, or that of ``items``. Defaults to ``'ms'``.
        cost (bool): Whether the ratio is ours / baseline. Defaults to False.
    """
    ratio, low, high = paired_ratio(ours, baseline) if cost else paired_ratio(baseline, ours)

    def shown(seconds: float) -> float:
        return items / seconds if items else seconds * (1000 if unit == 'ms' else 1)

    for name, side in (('ours', ours), ('baseline', baseline)):
        print(f'  {name}: median {shown(side.median):.4g} {unit}, {shown(min(side.seconds)):.4g} to '
              f'{shown(max(side.seconds)):.4g}, peak {side.peak / 2**20:.0f} MiB')
    label = 'cost, ours / baseline' if cost else 'ratio, times as fast'
    print(f'{place}, {setting}: {label} {ratio:.3f} (95 % interval {low:.3f} to {high:.3f}, {len(ours.seconds)} '
          f'runs), equal: {equal}', flush=True)
    return Record(place, setting, shown(ours.median), shown(baseline.median), unit, ratio, equal, ours.peak,
                  hardware(device, threads))


def finish(records: list[Record], path: str | None) -> None:
    """Print the table of all records and write the JSON file."""
    print(f'\n{"setting":60s} {"ours":>12s} {"baseline":>12s} {"ratio":>8s} {"equal":>6s} {"peak MiB":>9s}')
    for record in records:
        baseline = '–' if record.baseline is None else f'{record.baseline:.4g}'
        ratio = '–' if record.ratio is None else f'{record.ratio:.3g}'
        peak = '–' if record.peak_bytes is None else f'{record.peak_bytes / 2**20:.0f}'
        print(f'{record.setting:60s} {record.ours:12.4g} {baseline:>12s} {ratio:>8s} {str(record.equal):>6s} '
              f'{peak:>9s}  {record.unit}')
    if path:
        Path(path).write_text(json.dumps([asdict(record) for record in records], indent=2) + '\n')
