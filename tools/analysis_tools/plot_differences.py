"""Plot the differences between rows of tables of runs, from their compact logs."""
import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('reproduction')

from nbn_mm.reproduction.report import differences  # noqa: E402
from nbn_mm.reproduction.runs import runs_of  # noqa: E402
from nbn_mm.reproduction.tables import load_table  # noqa: E402
from nbn_mm.visualization import check_figure_path, plot_differences, save_figure  # noqa: E402


def main() -> None:
    """Parse the arguments and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('tables', nargs='+', metavar='[LABEL=]TABLE', help='tables of tools/reproduce.py, a panel each')
    parser.add_argument('--out', required=True, metavar='FILE', help='figure to write: .png, .pdf or .svg')
    parser.add_argument('--to', nargs='+', metavar='ROW', help='only the comparisons whose second row is one of these')
    parser.add_argument('--results', type=Path, default=Path('results'), help='folder of the logs (default: results)')
    parser.add_argument('--title', default='Differences on the same seeds')
    args = parser.parse_args()
    try:
        check_figure_path(args.out)
        panels, compared = {}, set()
        for given in args.tables:
            label, _, name = given.rpartition('=')
            table = load_table(name)
            if (label or table.name) in panels:
                raise ValueError(f'two panels are called {label or table.name!r}; give LABEL=TABLE.')
            found = differences(table, runs_of(table, Path('work_dirs'), args.results))
            panels[label or table.name] = [each for each in found if args.to is None or each['other'] in args.to]
            compared |= {each['other'] for each in found}
        unknown = sorted(set(args.to or ()) - compared)
        if unknown:
            raise ValueError(f'--to {unknown[0]}: no table compares this row with another; those compared are '
                             f'{", ".join(sorted(compared))}.')
        figure = plot_differences(panels, args.title)
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    save_figure(figure, args.out)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
