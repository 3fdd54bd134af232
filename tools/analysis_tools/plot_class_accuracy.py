"""Plot the accuracy of each class against its frequency, from the per-class CSV files of ShotGroupMetric."""
import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 1)]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('datasets', 'evaluation.functional')

from nbn_mm.datasets.shot_groups import FEW, MANY  # noqa: E402
from nbn_mm.evaluation.functional.run_summary import parse_named_paths  # noqa: E402
from nbn_mm.visualization import check_figure_path, plot_accuracy_by_frequency, read_accuracies, save_figure  # noqa: E402


def main() -> None:
    """Parse the arguments and write the figure."""
    parser = argparse.ArgumentParser(
        description='Accuracy of each class against its frequency. The CSV files are those of ShotGroupMetric.')
    parser.add_argument('tables', nargs='+', metavar='name=csv', help='per-class CSV of a method')
    parser.add_argument('--out', required=True, metavar='FILE', help='figure to write: .png, .pdf or .svg')
    parser.add_argument('--topk', type=int, default=1, metavar='K', help='take the top-k accuracies (default: 1)')
    parser.add_argument('--few', type=int, default=FEW, help=f'few-shot: fewer training images (default: {FEW})')
    parser.add_argument('--many', type=int, default=MANY, help=f'many-shot: more training images (default: {MANY})')
    parser.add_argument('--title', default='Accuracy of each class against its frequency')
    args = parser.parse_args()
    try:
        check_figure_path(args.out)
        data = read_accuracies(parse_named_paths(args.tables), args.topk)
        figure = plot_accuracy_by_frequency(**data, few=args.few, many=args.many, title=args.title,
                                            ylabel=f'Top-{args.topk} accuracy (%)')
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    save_figure(figure, args.out)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
