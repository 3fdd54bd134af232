"""Run or resume the runs of a table and write the table: ``python tools/reproduce.py TABLE [--list]``."""
import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# an installed package keeps nothing beside its configs and tools
HERE = ROOT if (ROOT / 'setup.py').is_file() else Path.cwd()
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('reproduction')

from nbn_mm.reproduction import pages, report  # noqa: E402
from nbn_mm.reproduction.execute import RunError, sees_accelerator  # noqa: E402
from nbn_mm.reproduction.runs import Run, runs_of  # noqa: E402
from nbn_mm.reproduction.schedule import free_memory_mb, run_cluster, run_local  # noqa: E402
from nbn_mm.reproduction.tables import Table, load_table, table_names  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('table', help=f'{", ".join(table_names())}, or a JSON file of the same form')
    parser.add_argument('--list', action='store_true', help='show rows, states and figures so far; run nothing')
    parser.add_argument('--json', action='store_true', help='the same as JSON, for programs')
    parser.add_argument('--rows', nargs='+', metavar='ROW', help='these rows only')
    parser.add_argument('--seeds', nargs='+', type=int, metavar='SEED', help="these of the table's seeds only")
    parser.add_argument('--jobs', type=int,
                        help='runs at a time, at most (default: 8 on a GPU, one a core on a CPU, all on a cluster)')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads of a run (default: 1)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
                        help='settings of all runs that the table leaves open, such as where the data lie; in the logs')
    parser.add_argument('--work-dir', type=Path, default=HERE / 'work_dirs' / 'reproduce',
                        help='checkpoints and full logs (default: work_dirs/reproduce)')
    parser.add_argument('--results', type=Path, default=HERE / 'results',
                        help='compact logs and tables (default: results)')
    parser.add_argument('--pages', nargs='+', type=Path, default=[], metavar='FILE',
                        help='Markdown files whose blocks of figures are written anew, too')
    parser.add_argument('--slurm', nargs='*', metavar='KEY=VALUE',
                        help="hand the runs to Slurm through submitit; parameters as in slurm_partition=gpu")
    parser.add_argument('--cluster', choices=['local', 'slurm'], help="submitit's executor (default: detected)")
    args = parser.parse_args()
    for pair in args.slurm or []:
        if '=' not in pair:
            parser.error(f'--slurm {pair}: KEY=VALUE is needed')
    for name in ('jobs', 'threads'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'--{name} {getattr(args, name)}: at least 1 is needed')
    return args


def tables_and_runs(args: argparse.Namespace) -> Callable[[str], tuple[Table, list[Run]]]:
    """A function: the name of a table to it and its runs, in the folders that the arguments say."""

    def load(name: str) -> tuple[Table, list[Run]]:
        table = load_table(name)
        return table, runs_of(table, args.work_dir.resolve(), args.results.resolve())

    return load


def show(summaries: list, as_json: bool) -> None:
    """Print the rows, their states and figures so far."""
    if as_json:
        print(json.dumps(summaries, indent=1))
        return
    widths = {key: max(len(each[key]) for each in summaries) for key in ('row', 'config')}
    for each in summaries:
        states: dict[str, list[str]] = {}
        for seed, state in each['states'].items():
            states.setdefault(state, []).append(str(seed))
        seeds = ', '.join(f'{state} {" ".join(members)}' for state, members in states.items())
        figure = '' if each['mean'] is None else f'  {each["mean"]:.2f}' + (
            '' if each['std'] is None else f' ± {each["std"]:.2f}')
        published = '' if each['published'] is None else f'  (published {each["published"]}' + (
            ')' if each['comparable'] else ', another schedule)')
        print(f'{each["row"]:<{widths["row"]}}  {each["config"]:<{widths["config"]}}  {seeds}{figure}{published}')


def main() -> int:
    args = parse_args()
    try:
        table, everything = tables_and_runs(args)(args.table)
        chosen = runs_of(table, args.work_dir.resolve(), args.results.resolve(), args.rows, args.seeds,
                         args.cfg_options)
        for guide in args.pages:  # one that can't be filled is told before the runs
            pages.fill(guide, ROOT, args.results, tables_and_runs(args))
    except (ValueError, KeyError) as error:
        sys.exit(f'error: {error.args[0]}')
    except OSError as error:
        sys.exit(f'error: --pages: {error}')
    errors: list[str] = []
    if not (args.list or args.json):
        environment = dict(OMP_NUM_THREADS=str(args.threads))
        try:
            if args.slurm is not None or args.cluster:
                parameters = dict(pair.split('=', 1) for pair in args.slurm or [])
                errors = run_cluster(chosen, ROOT, args.jobs or max(1, len(chosen)), environment, args.cluster,
                                     args.work_dir / 'submitit',
                                     {key: int(v) if v.isdigit() else v for key, v in parameters.items()})
            else:
                gpu = sees_accelerator()
                if gpu and free_memory_mb() is None:
                    print('nvidia-smi does not tell the free memory of the GPU: one run at a time')
                jobs = args.jobs or (8 if gpu else max(1, len(os.sched_getaffinity(0)) // args.threads))
                errors = run_local(chosen, ROOT, jobs, environment)
        except (RunError, ValueError) as error:
            sys.exit(f'error: {error}')
    try:
        summaries = report.summarize(everything)
    except ValueError as error:  # a damaged log
        sys.exit(f'error: {error}')
    if not (args.list or args.json):
        path = args.results / f'{table.name}.csv'
        report.write_csv(summaries, path)
        page = args.results / f'{table.name}.md'
        page.write_text(pages.page(table, everything, summaries, pages.relative(ROOT, args.results)), encoding='utf-8')
        print(f'{path} and {page.name}')
    for guide in args.pages:
        guide.write_text(pages.fill(guide, ROOT, args.results, tables_and_runs(args)), encoding='utf-8')
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader may close the pipe, as head does
    show([each for each in summaries if each['row'] in {run.row.name for run in chosen}], args.json)
    for error in errors:
        print(f'error: {error}', file=sys.stderr)
    return 1 if errors else 0


if __name__ == '__main__':
    sys.exit(main())
