"""Print one table of several runs: All / Many / Medium / Few / harmonic mean per method."""
import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 1)]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('evaluation.functional')

from nbn_mm.evaluation.functional.run_summary import (  # noqa: E402
    check_summary_path,
    parse_named_paths,
    summarize_runs,
    summary_markdown,
    write_summary,
)


def main() -> None:
    """Parse the arguments and print the table."""
    parser = argparse.ArgumentParser(
        description='One table of the last evaluations of runs, in percent. Runs of one name (seeds) are averaged.')
    parser.add_argument('runs', nargs='+', metavar='name=path', help='a work dir, or a JSON file of a test')
    parser.add_argument('--topk', type=int, default=1, metavar='K', help='take the top-k accuracies (default: 1)')
    parser.add_argument('--out', nargs='+', default=[], metavar='FILE', help='also write the table: .md, .csv')
    args = parser.parse_args()
    try:
        for path in args.out:
            check_summary_path(path)
        rows = summarize_runs(parse_named_paths(args.runs), args.topk)
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    print(summary_markdown(rows))
    for path in args.out:
        write_summary(rows, path)


if __name__ == '__main__':
    main()
