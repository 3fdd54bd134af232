"""CIFAR-LT training through tools/train.py: the data set on the device beside image by image, each in its own process.

Each run is a real one, of ``configs/cifar/resnet32_bn_ce_cifar10_lt.py`` and its per-image leaf with a shorter
schedule: some iterations to warm up, timed ones, and some in which batch and step are timed by turns for the share of
the data. ``--thin`` puts a classifier of mean colours in the place of the network, so that what remains is the Runner
and the data.
``--settings`` measures ways to run ours (see docs/running.md) beside the plain one; the baseline stays as it is.

``equal``: in this very run, both train the same few batches without augmentation to the same weights, bit by bit.

The images are generated (in CIFAR's files) or those under ``--data-root``.

    python tools/benchmarks/cifar_training.py --quick
    python tools/benchmarks/cifar_training.py --quick --thin
    python tools/benchmarks/cifar_training.py --device cuda --full --together 4 --json cifar_training.json \\
        --settings plain channels_last+bf16 channels_last+bf16+graphs+capture
"""
import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from cifar_images import natural_images
from harness import Record, add_arguments, compare, finish, hardware, interleave, prepare

ROOT = Path(__file__).resolve().parents[2]
PLACE, RECIPE = 'CIFAR-LT training', 13000
LEAVES = dict(device='resnet32_bn_ce_cifar10_lt.py', image='resnet32_bn_ce_perimage_cifar10_lt.py')
SETTINGS = dict(
    plain='',
    channels_last="default_hooks['speed']['channels_last'] = True",
    tf32="default_hooks['speed']['tf32'] = True",
    bf16="optim_wrapper['type'] = 'BFloat16OptimWrapper'",
    compile="default_hooks['speed']['compile'] = dict(modules=['backbone'])",
    graphs="default_hooks['speed']['compile'] = dict(modules=['backbone'], mode='reduce-overhead')",
    capture="train_dataloader['dataset']['capture'] = True",
    fused="optim_wrapper['optimizer']['fused'] = True")
CONFIG = """
_base_ = {base!r}
custom_imports = dict(imports=['nbn_mm', 'training_clock', 'thin_backbone'])
data = dict(data_root={data_root!r}, verify_md5=False)
train_data = dict(data, subset={subset!r})
loaders = dict(train=dict(batch_size={batch}, dataset={train_data}), val=dict(dataset={data}))
global_batch_size = {batch}
train_dataloader, val_dataloader = loaders['train'], loaders['val']
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict())
model = dict(backbone=dict({backbone}))
train_cfg = dict(max_iters={iterations}, val_interval={val_interval})
default_hooks = dict(checkpoint=dict(interval=10**6, save_last=False), speed=dict(type='SpeedHook'))
custom_hooks = [dict(type='TrainingClockHook', out={out!r}, warmup={warmup}, timed={timed}, turns={turns},
                     together={together}, weights={weights!r})]
{more}
"""
PLAIN_DATA = """
train_dataloader['dataset']['pipeline'] = [dict(type='PackInputs')]
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0, deterministic=True)
"""


def write_cifar(folder: Path, per_class: int) -> str:
    """Write generated images in CIFAR-10's files: ``per_class`` training images a class, a fifth as many for tests."""
    batches = folder / 'cifar-10-batches-py'
    batches.mkdir(parents=True)
    for number, name in enumerate([*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch']):
        labels = np.arange(2 * per_class) % 10
        images = natural_images(len(labels), 32, seed=number).transpose(0, 3, 1, 2).reshape(len(labels), -1)
        content = dict(data=np.ascontiguousarray(images), labels=labels.tolist())
        (batches / name).write_bytes(pickle.dumps(content))
    names = dict(label_names='airplane automobile bird cat deer dog frog horse ship truck'.split())
    (batches / 'batches.meta').write_bytes(pickle.dumps(names))
    return str(folder)


class Trainer:
    """Starts trainings in processes of their own.

    Args:
        args (Namespace): Of the command line.
        folder (Path): For configs, logs and results.
        data_root (str): Folder of CIFAR-10.
    """

    def __init__(self, args: argparse.Namespace, folder: Path, data_root: str) -> None:
        self.args, self.folder, self.data_root = args, folder, data_root
        self.subset = 'canonical' if args.per_class == 5000 else 'first'
        self.count = 0

    def start(self, path: str, more: str = '', together: int = 1, group: Path | None = None,
              **changes: object) -> tuple[subprocess.Popen, Path]:
        """Start one training.

        Args:
            path (str): ``'device'`` or ``'image'``.
            more (str): Further lines of the config.
            together (int): Processes that wait for each other.
            group (Path, optional): Their common folder.
            **changes: Other numbers of iterations, and ``weights``.

        Returns:
            tuple[Popen, Path]: The process, and the file of its times.
        """
        args, self.count = self.args, self.count + 1
        work_dir = (group or self.folder) / f'run_{self.count}'
        work_dir.mkdir(parents=True)
        values = dict(warmup=args.warmup, timed=args.iterations, turns=args.turns, weights=None) | changes
        iterations = values['warmup'] + values['timed'] + values['turns']
        values.setdefault('val_interval', iterations)
        wrap = (lambda keys: f'dict(dataset={keys})') if path == 'device' else (lambda keys: keys)
        if path == 'image':
            more += f"\ntrain_dataloader['num_workers'] = {args.workers}\ntrain_dataloader['persistent_workers'] = " \
                    f"val_dataloader['persistent_workers'] = {bool(args.workers)}\n" \
                    f"val_dataloader['num_workers'] = {min(args.workers, 2)}"
        out = (group or work_dir) / f'times_{self.count}.json'
        text = CONFIG.format(
            base=str(ROOT / 'configs' / 'cifar' / LEAVES[path]), data_root=self.data_root, subset=self.subset,
            train_data=wrap('train_data'), data=wrap('data'), batch=args.batch, more=more, iterations=iterations,
            backbone="_delete_=True, type='ThinBackbone'" if args.thin else f'depth={args.depth}', out=str(out),
            together=together, **values)
        config = work_dir / 'benchmark.py'
        config.write_text(text)
        env = dict(os.environ, OMP_NUM_THREADS=str(args.threads), PYTHONPATH=os.pathsep.join(
            [str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]))
        if args.device == 'cpu':
            env['CUDA_VISIBLE_DEVICES'] = '-1'
        with open(work_dir / 'output.txt', 'w') as log:
            process = subprocess.Popen([sys.executable, str(ROOT / 'tools' / 'train.py'), str(config), '--work-dir',
                                        str(work_dir)], stdout=log, stderr=subprocess.STDOUT, env=env, cwd=work_dir)
        return process, out

    def finish(self, process: subprocess.Popen, out: Path) -> dict:
        """Wait for a training and return its times; ends the benchmark with its last lines if it failed."""
        if process.wait():
            log = next(Path(process.args[-1]).glob('output.txt')).read_text(errors='replace')
            raise SystemExit(f'error: {" ".join(process.args)} ended with {process.returncode}:\n{log[-3000:]}')
        return json.loads(out.read_text())

    def run(self, path: str, more: str = '', **changes: object) -> dict:
        """One training from start to end."""
        return self.finish(*self.start(path, more, **changes))

    def together(self, number: int, more: str) -> tuple[float, int]:
        """Several trainings side by side on one device.

        Returns:
            tuple[float, int]: Images a second in sum, over the stretch in which all were timed, and the sum of peaks.
        """
        group = self.folder / f'together_{self.count}'
        started = [self.start('device', more, together=number, group=group) for _ in range(number)]
        while any(process.poll() is None for process, _ in started):
            if any(process.poll() for process, _ in started):  # the others would wait for it
                for process, _ in started:
                    process.terminate()
            time.sleep(0.1)
        started.sort(key=lambda pair: pair[0].returncode, reverse=True)  # first what failed by itself, then what ended
        times = [self.finish(*pair) for pair in started]
        seconds = max(t['end'] for t in times) - min(t['start'] for t in times)
        return number * self.args.iterations * self.args.batch / seconds, sum(t['peak'] for t in times)

    def equal(self) -> bool:
        """Whether both paths train the same batches to the same weights."""
        files = {path: str(self.folder / f'weights_{path}.pth') for path in LEAVES}
        started = [self.start(path, PLAIN_DATA, warmup=1, timed=2, turns=0, weights=file)
                   for path, file in files.items()]
        for pair in started:  # nothing is timed here
            self.finish(*pair)
        states = [torch.load(file, weights_only=True) for file in files.values()]
        return states[0].keys() == states[1].keys() and all(
            torch.equal(value, states[1][key]) for key, value in states[0].items())


def lines_of(setting: str) -> str:
    """The lines of the config for ``'channels_last+bf16'`` and the like."""
    return '\n'.join(SETTINGS[name] for name in setting.split('+'))


def measure(args: argparse.Namespace, trainer: Trainer) -> list[Record]:
    """All runs by turns, and their records."""
    seen: dict[str, list[dict]] = {name: [] for name in ['image', *args.settings]}

    def side(name: str) -> tuple[float, int]:
        times = trainer.run('image') if name == 'image' else trainer.run('device', lines_of(name))
        seen[name].append(times)
        print(f'  {name}: {args.iterations * args.batch / (times["end"] - times["start"]):.5g} images/s', flush=True)
        return times['end'] - times['start'], times['peak']

    timings = interleave({name: (lambda name=name: side(name)) for name in seen}, args.runs, args.device, warmup=0,
                         measure=lambda function, device: function())
    equal = trainer.equal()
    what = 'mean colours' if args.thin else f'ResNet-{args.depth}'
    baseline, records = timings['image'], []
    common = dict(equal=equal, device=args.device, threads=args.threads if args.device == 'cpu' else None)
    machine = hardware(args.device, common['threads'])

    def median(name: str, value) -> float:
        return float(np.median([value(times) for times in seen[name]]))

    for name in args.settings:
        setting = f'{what}, batch {args.batch}, {name}'
        records.append(compare(PLACE, setting, timings[name], baseline, items=args.iterations * args.batch,
                               unit='images/s', **common))
        pairs = (
            (f'{RECIPE:,} iterations, extrapolated', 's', lambda t: RECIPE * (t['end'] - t['start']) / args.iterations),
            ('share of the data', '% of the step', lambda t: 100 * t['data'] / max(t['data'] + t['step'], 1e-9)),
            ('one evaluation', 's', lambda t: t['evaluation'][-1]),
            ('first iteration', 's', lambda t: t['first']))
        for label, unit, value in pairs:
            ours, theirs = median(name, value), median('image', value)
            ratio = theirs / ours if unit == 's' else None
            if 'iterations' in label:
                ratio = records[-1].ratio  # the same stretch: the median of the paired ratios
            records.append(Record(PLACE, f'{setting}: {label}', ours, theirs, unit, ratio,
                                  equal if 'iterations' in label else None, None, machine))
        if args.together > 1:
            rates = [trainer.together(args.together, lines_of(name)) for _ in range(args.runs)]
            rate, peak = (float(np.median(values)) for values in zip(*rates, strict=True))
            records.append(Record(PLACE, f'{setting}: {args.together} runs together', rate, None, 'images/s', None,
                                  None, int(peak), machine))
        if args.full:
            times = trainer.run('device', lines_of(name), warmup=50, timed=RECIPE - 50, turns=0, val_interval=1000)
            run = times['whole'] - sum(times['evaluation'])
            records.append(Record(PLACE, f'{setting}: {RECIPE:,} iterations, run in full', run, None, 's', None, None,
                                  times['peak'], machine))
    return records


def parse_args(argv: Sequence[str] | None = None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument('--data-root', help='folder that holds cifar-10-batches-py (e.g. data/cifar10)')
    parser.add_argument('--iterations', type=int, help='timed iterations (default: 300; --quick: 8)')
    parser.add_argument('--warmup', type=int, help='iterations before these (default: 100; --quick: 2)')
    parser.add_argument('--turns', type=int, help='iterations for the share of the data (default: 50; --quick: 4)')
    parser.add_argument('--batch', type=int, help='images a step (default: 512; --quick: 128)')
    parser.add_argument('--depth', type=int, help='of the ResNet, 6n+2 (default: 32; --quick: 8)')
    parser.add_argument('--thin', action='store_true', help='a classifier of mean colours instead of the ResNet')
    parser.add_argument('--workers', type=int, help='of the baseline (default: 16 with --device cuda, else 0)')
    parser.add_argument('--together', type=int, default=1, metavar='K', help='also K runs side by side on the device')
    parser.add_argument('--full', action='store_true', help=f'also all {RECIPE:,} iterations of ours')
    parser.add_argument('--settings', nargs='+', default=['plain'], metavar='A+B',
                        help=f'of ours, each measured: sums of {", ".join(SETTINGS)} (default: plain)')
    parser.add_argument('--per-class', type=int, help='generated training images a class (default: 5000; --quick: 500)')
    args = parser.parse_args(argv)
    quick = dict(iterations=8, warmup=2, turns=4, batch=128, depth=8, per_class=500)
    full = dict(iterations=300, warmup=100, turns=50, batch=512, depth=32, per_class=5000)
    for name, value in (quick if args.quick else full).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.data_root is not None:
        args.per_class = 5000
    args.workers = (16 if args.device == 'cuda' else 0) if args.workers is None else args.workers
    prepare(parser, args)
    if min(args.iterations, args.warmup, args.turns, args.batch, args.together) < 1 or args.workers < 0:
        parser.exit(1, 'error: --iterations, --warmup, --turns, --batch and --together must be at least 1.\n')
    unknown = [name for setting in args.settings for name in setting.split('+') if name not in SETTINGS]
    if unknown:
        parser.exit(1, f'error: --settings {unknown[0]} is unknown; there are {", ".join(SETTINGS)}.\n')
    if args.data_root is not None and not (Path(args.data_root) / 'cifar-10-batches-py').is_dir():
        parser.exit(1, f'error: --data-root={args.data_root} holds no cifar-10-batches-py.\n')
    return parser, args


def main() -> None:
    _, args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data_root = str(Path(args.data_root).resolve()) if args.data_root else write_cifar(
            Path(folder) / 'data', args.per_class)
        finish(measure(args, Trainer(args, Path(folder), data_root)), args.json)


if __name__ == '__main__':
    main()
