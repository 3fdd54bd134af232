"""What a user waits for around a run: imports, its start, tools that need no model, checkpoint size, the log's history.

Each run is a fresh interpreter, ours and the baseline by turns; the peak is that of its process (Linux). Baselines: the
imports of the hosts' own parts; the host's Runner on the same config without this package; a tool behind
`import nbn_mm`, which registers everything. The run is one iteration of a ResNet on pictures made here, and `equal`
there compares the losses. Checkpoints are those of that run, with NBN and with BN, by part; the ratio says how many
times as small ours is. The log's history is what the host copies in each iteration of a long run, and saves.

    python tools/benchmarks/startup.py --json startup.json     # 10 minutes
    python tools/benchmarks/startup.py --quick                 # a minute or two
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]  # the package of this checkout, installed or not, and the harness

import harness  # noqa: E402
import numpy as np  # noqa: E402

PLACE = 'start-up'
KINDS = ('import', 'run', 'print_config', 'make_shapes_lvis', 'checkpoint', 'log_history')
SCALARS, ITERATIONS, KEPT = 12, 600000, 1000  # of a detector, in an LVIS schedule of 2x at batch 4; LogHistoryHook's
TOOLS = HERE.parent
CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, norm_cfg=dict(type='BN')), neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=512, loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(num_classes=2, mean=[127.5] * 3, std=[64.0] * 3)
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={data!r}, pipeline=[
        dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
default_hooks = dict(logger=dict(type='LoggerHook', interval=1),
                     checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False))
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
"""
OURS = """
custom_imports = dict(imports=['nbn_mm'])
default_hooks['class_counts'] = dict(type='ClassCountsHook')
default_hooks['checkpoint_guard'] = dict(type='CheckpointGuardHook')
"""
NBN = "model['backbone'] = dict(type='NBNBackbone', base='ResNet', depth=18, nbn=dict(placement='paper'))\n"
HOST_IMPORTS = 'import mmengine.runner, mmcv.transforms, mmpretrain.models, mmpretrain.datasets, mmdet.models'
HOST_RUN = ('import sys; from mmengine.config import Config; from mmengine.runner import Runner; '
            'cfg = Config.fromfile(sys.argv[1]); cfg.work_dir = sys.argv[3]; Runner.from_cfg(cfg).train()')
REGISTERED = 'import sys, runpy; sys.argv.pop(0); import nbn_mm; runpy.run_path(sys.argv[0], run_name="__main__")'


class Process:
    """A command to be timed: seconds until its end, and the peak memory of the process.

    Args:
        *command: Arguments of this Python.
        check (Callable, optional): Gives what is compared, from the output of the last run.
    """

    def __init__(self, *command: object, check: Callable[[str], object] | None = None) -> None:
        self.command = [sys.executable, *map(str, command)]
        self.check = check
        self.result: object = None

    def measure(self, device: str) -> tuple[float, int]:
        """Run it once.

        Raises:
            RuntimeError: If it fails, with its output.
        """
        env = dict(os.environ, PYTHONPATH=str(HERE.parents[1]))
        start = time.perf_counter()
        with tempfile.TemporaryFile('w+') as log:
            process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT, env=env)
            peak = 0  # of rusage it would start at this process's peak
            while process.poll() is None:
                peak = max(peak, peak_of(process.pid))
                time.sleep(0.005)
            seconds = time.perf_counter() - start
            log.seek(0)
            output = log.read()
        if process.returncode:
            raise RuntimeError(f'{self.command} failed:\n{output}')
        self.result = self.check(output) if self.check else None
        return seconds, peak


def peak_of(pid: int) -> int:
    """Bytes that a running process has held at most; 0 where the system does not tell."""
    try:
        status = Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return 0
    return 1024 * int((re.findall(r'VmHWM:\s+(\d+)', status) or [0])[0])


def compare(setting: str, ours: Process, baseline: Process, runs: int, warmup: int = 1) -> harness.Record:
    """One record."""
    timings = harness.interleave(dict(ours=ours, baseline=baseline), runs, warmup=warmup,
                                 measure=lambda process, device: process.measure(device))
    equal = None if ours.check is None else ours.result == baseline.result and ours.result not in ('', [], {})
    return harness.compare(PLACE, setting, timings['ours'], timings['baseline'], equal=equal, unit='s')


def losses(output: str) -> list[str]:
    """The logged losses of a run."""
    return re.findall(r'loss: (\S+)', output)


def config_text(output: str) -> str:
    """A printed config without the lines that the hosts print on import."""
    return '\n'.join(line for line in output.splitlines() if not line.startswith('Could not import'))


def files(folder: Path) -> Callable[[str], dict[str, bytes]]:
    """Reads all files of a folder and removes it, for the next run."""

    def read(output: str) -> dict[str, bytes]:
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}
        shutil.rmtree(folder)
        return found

    return read


def write_configs(folder: Path) -> dict[str, Path]:
    """Eight pictures of two classes, and the config of the host, the same with our hooks, and with NBN."""
    from PIL import Image
    rng = np.random.default_rng(0)
    for label in range(2):
        (folder / f'data/class_{label}').mkdir(parents=True)
        for i in range(4):
            image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            image.save(folder / f'data/class_{label}/{label}_{i}.png')
    text = CONFIG.replace('{data!r}', repr(str(folder / 'data')))
    paths = {}
    for name, config in (('host', text), ('ours', text + OURS), ('nbn', text + OURS + NBN)):
        paths[name] = folder / f'{name}.py'
        paths[name].write_text(config)
    return paths


def checkpoint_size(configs: dict[str, Path], folder: Path) -> harness.Record:
    """Bytes of the checkpoints of NBN and of the host's BN, with the parts of ours that are not the host's."""
    import io

    import torch
    Process(TOOLS / 'train.py', configs['nbn'], '--work-dir', folder / 'nbn').measure('cpu')
    Process('-c', HOST_RUN, configs['host'], '--work-dir', folder / 'host').measure('cpu')
    sizes, parts = {}, {}
    for name in ('nbn', 'host'):
        path = folder / name / 'iter_1.pth'
        sizes[name], parts[name] = path.stat().st_size, {}
        checkpoint = torch.load(path, map_location='cpu', weights_only=False)
        for key, part in {**checkpoint, **{f'meta.{key}': part for key, part in checkpoint['meta'].items()}}.items():
            buffer = io.BytesIO()
            torch.save(part, buffer)
            parts[name][key] = buffer.tell()
    for key, size in parts['nbn'].items():
        print(f'  checkpoint, {key}: {size:,} bytes alone, BN {parts["host"].get(key, 0):,}')
    logged = len(checkpoint['message_hub']['log_scalars'])
    print(f'  message_hub keeps {logged} logged values an iteration at 16 bytes, as the host does: '
          f'{13000 * 16 * logged:,} bytes after 13,000 iterations')
    ours, baseline = sizes['nbn'], sizes['host']
    return harness.Record(PLACE, 'checkpoint of ResNet-18, NBN beside BN', ours, baseline, 'bytes', baseline / ours,
                          None, None, harness.hardware())


def log_history(runs: int) -> list[harness.Record]:
    """One update of all logged scalars late in a run, with LogHistoryHook's bound and without; the bytes saved."""
    import io

    import torch
    from mmengine.logging import HistoryBuffer
    values, counts = np.random.default_rng(0).random(ITERATIONS), np.ones(ITERATIONS)
    sides = dict(host=[HistoryBuffer(values, counts) for _ in range(SCALARS)],
                 ours=[HistoryBuffer(values[-KEPT:], counts[-KEPT:], KEPT) for _ in range(SCALARS)])

    def update(buffers: list[HistoryBuffer]) -> None:
        for buffer in buffers:
            buffer.update(0.5)

    timings = harness.interleave({name: lambda side=side: update(side) for name, side in sides.items()}, runs)
    ours, host = ([buffer.mean(50) for buffer in sides[name]] for name in ('ours', 'host'))
    setting = f'{SCALARS} logged scalars, iteration {ITERATIONS:,}'
    records = [harness.compare(PLACE, f'{setting}, update', timings['ours'], timings['host'], equal=ours == host)]
    sizes = {}
    for name, buffers in sides.items():
        stream = io.BytesIO()
        torch.save(buffers, stream)
        sizes[name] = stream.tell()
    return [*records, harness.Record(PLACE, f'{setting}, in a checkpoint', sizes['ours'], sizes['host'], 'bytes',
                                     sizes['host'] / sizes['ours'], ours == host, None, harness.hardware())]


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description='Imports, start of a run, tools and checkpoint size.')
    harness.add_arguments(parser)
    parser.add_argument('--only', nargs='+', choices=KINDS, default=KINDS, help='what to measure (all)')
    args = parser.parse_args()
    harness.prepare(parser, args)
    if args.device != 'cpu':
        parser.exit(1, 'error: starting is measured on the CPU, --device cuda has no meaning here.\n')
    os.environ.setdefault('OMP_NUM_THREADS', str(args.threads))
    runs, warmup = (min(args.runs, 2), 0) if args.quick else (args.runs, 1)
    records = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configs = write_configs(folder)
        if 'import' in args.only:
            records.append(compare('import nbn_mm beside the hosts alone', Process('-c', 'import nbn_mm'),
                                   Process('-c', HOST_IMPORTS), runs, warmup))
        if 'run' in args.only:
            records.append(compare(
                'tools/train.py, BN and our hooks, first iteration and checkpoint',
                Process(TOOLS / 'train.py', configs['ours'], '--work-dir', folder / 'a', check=losses),
                Process('-c', HOST_RUN, configs['host'], '--work-dir', folder / 'b', check=losses), runs,
                warmup))
        shapes = TOOLS / 'dataset_converters/make_shapes_lvis.py'
        for kind, tool, check in (
                ('print_config', (TOOLS / 'print_config.py', configs['nbn']), config_text),
                ('make_shapes_lvis', (shapes, folder / 'shapes'), files(folder / 'shapes'))):
            if kind in args.only:
                records.append(compare(f'{kind}.py beside the same with everything registered',
                                       Process(*tool, check=check), Process('-c', REGISTERED, *tool, check=check), runs,
                                       warmup))
        if 'checkpoint' in args.only:
            records.append(checkpoint_size(configs, folder))
        if 'log_history' in args.only:
            records += log_history(args.runs)
    harness.finish(records, args.json)


if __name__ == '__main__':
    main()
