"""Seesaw losses: ours beside the hosts', forward and backward, on the same logits, labels and counts.

A quarter of the proposals is foreground, its classes follow a power law; counts start as in the middle of a training.
Equal means: losses within 1e-6 of each other, gradients within 1e-6 of the largest entry, and the same counts, after
all the runs. Peak memory is that of the tensors of one call, above logits and labels. The process has freed a large
block before, as any training has: until then the C library maps and unmaps each of the host's matrices, which slows the
host.

    python tools/benchmarks/seesaw.py --json seesaw.json
    python tools/benchmarks/seesaw.py --device cuda
"""
import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]  # the package of this checkout, installed or not, and the harness

import torch  # noqa: E402
from harness import Record, add_arguments, compare, finish, hardware, interleave, prepare, timed  # noqa: E402
from torch import Tensor, nn  # noqa: E402

FOREGROUND = 0.25
TOLERANCE = 1e-6
SEEN = 1e6  # samples that were counted before
FREED = 31 * 2**20  # bytes; beyond 32 MiB the C library would not keep blocks of this size


def data(rows: int, classes: int, background: bool, different: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Logits ``(N, C + 2)`` or, without background, ``(N, C)``; labels ``(N, )``; counts ``(C + 1, )`` or ``(C, )``."""
    generator = torch.Generator().manual_seed(0)
    share = 1 / torch.arange(1, classes + 1, dtype=torch.float64)
    share /= share.sum()
    foreground = round(rows * FOREGROUND) if background else rows
    labels = torch.arange(foreground) % classes if different else share.multinomial(foreground, True,
                                                                                    generator=generator)
    counts = (SEEN * share).floor()
    if background:
        labels = torch.cat([labels, torch.full((rows - foreground, ), classes)])
        counts = torch.cat([counts, counts.sum(0, keepdim=True) * (1 / FOREGROUND - 1)])
    order = torch.randperm(rows, generator=generator)
    return 3 * torch.randn(rows, classes + 2 * background, generator=generator), labels[order], counts


def run(loss: nn.Module, logits: Tensor, labels: Tensor, calls: int, out: list) -> Callable[[], None]:
    """A run of some calls, forward and backward; ``out`` holds losses, gradient and counts of the last one."""
    z = logits.clone().requires_grad_()

    def call() -> None:
        for _ in range(calls):
            z.grad = None
            found = loss(z, labels, avg_factor=float(len(labels)))
            found = list(found.values()) if isinstance(found, dict) else [found]
            sum(found).backward()
        out[:] = torch.stack([value.detach() for value in found]), z.grad, loss.cum_samples

    return call


def agree(ours: list, host: list) -> bool:
    """Whether losses and gradients agree within the tolerance, and counts exactly."""
    near = all(bool((a - b).abs().max() <= TOLERANCE * b.abs().max()) for a, b in zip(ours[:2], host[:2], strict=True))
    return near and torch.equal(ours[2], host[2])


def tensor_peak(function: Callable[[], None], device: str) -> int:
    """Bytes that tensors held at most during a call; on a CPU the process's own peak would hide behind freed memory."""
    if device == 'cuda':
        return timed(function, device)[1]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == '[memory]']
    return max(itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def measure(args: argparse.Namespace, losses: tuple[nn.Module, nn.Module], rows: int, setting: str,
            different: bool = False) -> list[Record]:
    """Interleaved runs of ours and the host's: time of a call, and memory."""
    classes = losses[0].num_classes
    background = len(losses[0].cum_samples) > classes
    logits, labels, counts = (tensor.to(args.device) for tensor in data(rows, classes, background, different))
    outs, sides, peaks = ([], []), {}, {}
    for name, loss, out in zip(('ours', 'host'), losses, outs, strict=True):
        loss.to(args.device).cum_samples.copy_(counts)
        peaks[name] = tensor_peak(run(loss, logits, labels, 1, []), args.device)
        sides[name] = run(loss, logits, labels, args.calls, out)
    found = interleave(sides, args.runs, args.device,
                       measure=lambda function, device: (timed(function, device)[0] / args.calls, 0))
    for name, timing in found.items():
        timing.peaks = [peaks[name]]
    equal = agree(*outs)
    setting += f', {len(labels.unique())} labels in the batch'
    speed = compare('Seesaw loss', setting, found['ours'], found['host'], equal=equal, device=args.device,
                    threads=args.threads)
    memory = Record('Seesaw loss', f'{setting}, peak memory', peaks['ours'], peaks['host'], 'bytes',
                    peaks['host'] / peaks['ours'], equal, peaks['ours'], hardware(args.device, args.threads))
    return [speed, memory]


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description='Seesaw losses beside the hosts\'.')
    parser.add_argument('--rows', type=int, nargs='+', default=[512, 1024, 2048],
                        help='proposals of a batch (default: 512 1024 2048)')
    parser.add_argument('--classes', type=int, default=1203, help='classes of the box head (default: 1203)')
    parser.add_argument('--calls', type=int, default=20, help='calls in a run (default: 20)')
    add_arguments(parser, runs=21)
    args = parser.parse_args()
    if args.quick:
        args.runs, args.calls = min(args.runs, 11), min(args.calls, 10)
    if min(*args.rows, args.classes, args.calls) < 1:
        parser.exit(1, f'error: --rows={args.rows}, --classes={args.classes} and --calls={args.calls} must be at '
                    'least 1.\n')
    prepare(parser, args)
    from mmdet.models.losses import SeesawLoss as BoxSeesawLoss
    from mmpretrain.models.losses import SeesawLoss

    from nbn_mm.models.losses import FastSeesawClsLoss, FastSeesawLoss
    records = []
    torch.ones(FREED, dtype=torch.uint8)

    def boxes(rows: int, different: bool = False) -> None:
        pair = FastSeesawLoss(num_classes=args.classes), BoxSeesawLoss(num_classes=args.classes)
        records.extend(measure(args, pair, rows, f'{rows} proposals x {args.classes} classes', different))

    for rows in args.rows:
        boxes(rows)
    boxes(args.rows[0], different=True)
    for classes in (100, 1000):
        records.extend(measure(args, (FastSeesawClsLoss(num_classes=classes), SeesawLoss(num_classes=classes)),
                               args.rows[0], f'classifier, {args.rows[0]} images x {classes} classes'))
    finish(records, args.json)


if __name__ == '__main__':
    main()
