"""Train four classifiers on Digits-LT (CE and Balanced Softmax, BN and NBN + LR), print a table, draw two plots."""
import argparse
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the package of this checkout, installed or not

from mmengine.logging import MMLogger  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402

from nbn_mm.engine.norm_weights import collect_norm_weights  # noqa: E402
from nbn_mm.evaluation.functional import summarize_runs, summary_markdown, write_summary  # noqa: E402
from nbn_mm.visualization import plot_accuracy_by_frequency, plot_sorted_weights, read_accuracies, save_figure  # noqa: E402

EPOCHS = 60
METHODS = {
    'CE, BN': 'resnet8_bn_ce_digits_lt',
    'CE, NBN+LR': 'resnet8_nbn_lr_ce_digits_lt',
    'Balanced Softmax, BN': 'resnet8_bn_bsl_digits_lt',
    'Balanced Softmax, NBN+LR': 'resnet8_nbn_lr_bsl_digits_lt',
}


def new_records(work_dir: Path, seen: int) -> list:
    """Records that the run's log has gained; a line that is being written waits for the next call."""
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    lines = logs[-1].read_text().split('\n')[:-1] if logs else []
    return [json.loads(line) for line in lines[seen:]]


def train(name: str, work_dir: Path, epochs: int, threads: int, progress: Progress, stop: threading.Event) -> None:
    """Run tools/train.py on the config that the work dir is named after, with its log beside it and a bar."""
    task = progress.add_task(name, total=epochs)
    work_dir.mkdir(parents=True)
    command = [sys.executable, 'tools/train.py', f'configs/demo/{work_dir.name}.py', '--work-dir', str(work_dir),
               '--cfg-options', f'train_cfg.max_epochs={epochs}', f'param_scheduler.0.T_max={epochs}',
               f'val_evaluator.0.per_class_csv={work_dir / "classes.csv"}']
    seen, env = 0, {**os.environ, 'OMP_NUM_THREADS': str(threads)}
    with open(work_dir / 'log.txt', 'w') as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            while True:
                running = process.poll() is None
                for record in new_records(work_dir, seen):
                    seen += 1
                    if 'epoch' in record:
                        progress.update(task, completed=record['epoch'])
                    elif 'shot/all_top1' in record:
                        progress.console.print(f"  {name}, epoch {record['step']} of {epochs}: "
                                               f"{record['shot/all_top1']:.1f} % of the test digits right")
                if not running or stop.is_set():
                    break
                time.sleep(0.3)
        finally:
            process.kill()
            process.wait()
    if process.returncode and not stop.is_set():
        tail = '\n'.join((work_dir / 'log.txt').read_text().splitlines()[-15:])
        raise SystemExit(f'{tail}\n\n{name}: training ended with exit status {process.returncode}; the whole log is '
                         f'{work_dir / "log.txt"}')
    progress.update(task, completed=epochs)


def train_all(runs: list, epochs: int, progress: Progress) -> None:
    """Train several networks side by side, one a core; the first that fails ends the others."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    threads, stop = max(1, cores // len(runs)), threading.Event()
    with ThreadPoolExecutor(min(cores, len(runs))) as pool:
        futures = [pool.submit(train, name, work_dir, epochs, threads, progress, stop) for name, work_dir in runs]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def main() -> None:
    """Train, print the table, write the plots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default=str(ROOT / 'work_dirs' / 'demo'),
                        help='folder of the runs; each call adds one')
    parser.add_argument('--epochs', type=int, default=EPOCHS, help=f'epochs of each run (default: {EPOCHS})')
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f'--epochs {args.epochs}: at least 1 is needed')
    start = time.time()
    out = Path(args.out).resolve() / time.strftime('%Y%m%d_%H%M%S')
    console = Console(soft_wrap=True)
    console.print(f'Training {len(METHODS)} classifiers for {args.epochs} epochs each on Digits-LT; logs go to {out}')
    columns = (TextColumn('{task.description:<26}'), BarColumn(20), MofNCompleteColumn(), TextColumn('epochs'),
               TimeElapsedColumn())
    runs = [(name, out / config) for name, config in METHODS.items()]
    with Progress(*columns, console=console) as progress:
        train_all(runs, args.epochs, progress)

    MMLogger.get_instance('demo', log_level='WARNING')  # building networks for the figures is no news here
    rows = summarize_runs(runs)
    write_summary(rows, out / 'table.md')
    write_summary(rows, out / 'table.csv')
    accuracies = read_accuracies([(name, work_dir / 'classes.csv') for name, work_dir in runs], 1)
    figure = plot_accuracy_by_frequency(**accuracies, title='Digits-LT: accuracy of each class against its frequency')
    save_figure(figure, out / 'accuracy_by_frequency.png')
    weights = collect_norm_weights([(name, work_dir / f'epoch_{args.epochs}.pth') for name, work_dir in runs])
    figure = plot_sorted_weights(weights, title='Digits-LT: sorted weights of the norm layers')
    save_figure(figure, out / 'sorted_weights.png')
    print(f'\nTop-1 accuracy on the balanced test digits, in percent (one seed, {args.epochs} epochs):\n')
    print(summary_markdown(rows))
    print(f'\nTable and plots: {out}/{{table.md,table.csv,accuracy_by_frequency.png,sorted_weights.png}}'
          f'\nTraining and plots took {time.time() - start:.0f} s.')


if __name__ == '__main__':
    main()
