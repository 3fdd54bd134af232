"""Plot the AP of each class against its frequency, from the per-class CSV files of StreamingLVISMetric."""
import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 1)]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('datasets', 'evaluation.functional')

from nbn_mm.evaluation.functional.run_summary import parse_named_paths  # noqa: E402
from nbn_mm.visualization import check_figure_path, plot_ap_by_frequency, read_ap, save_figure  # noqa: E402

LABELS = dict(bbox='Box AP (%)', segm='Mask AP (%)')


def main() -> None:
    """Parse the arguments and write the figure."""
    parser = argparse.ArgumentParser(
        description='AP of each class against its frequency. The CSV files are those of StreamingLVISMetric.')
    parser.add_argument('tables', nargs='+', metavar='name=csv', help='per-class CSV of a method')
    parser.add_argument('--out', required=True, metavar='FILE', help='figure to write: .png, .pdf or .svg')
    parser.add_argument('--metric', choices=list(LABELS), default='segm', help='AP of boxes or of masks (default)')
    parser.add_argument('--title', default='AP of each class against its frequency')
    args = parser.parse_args()
    try:
        check_figure_path(args.out)
        data = read_ap(parse_named_paths(args.tables), args.metric)
        figure = plot_ap_by_frequency(**data, title=args.title, ylabel=LABELS[args.metric])
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    save_figure(figure, args.out)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
