#!/usr/bin/env python
"""Calibrate saved logits without training, and print the shot-group accuracies before and after as one table."""
import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 1)]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('evaluation.functional', 'datasets', 'utils')

from nbn_mm.datasets.class_priors import IIF_KINDS  # noqa: E402
from nbn_mm.evaluation.functional.posthoc_methods import (  # noqa: E402
    METHODS,
    WITH_TAU,
    PosthocFacts,
    posthoc_map,
    posthoc_markdown,
    posthoc_name,
    posthoc_table,
)
from nbn_mm.evaluation.functional.posthoc_report import check_report_path, write_report  # noqa: E402
from nbn_mm.evaluation.functional.saved_logits import read_logits  # noqa: E402


def main() -> None:
    """Parse the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('logits', help='logits of the test set, from save_logits.py')
    parser.add_argument('--method', nargs='+', choices=METHODS, default=['logit_adjustment'], metavar='METHOD',
                        help=f'among {", ".join(METHODS)} (default: logit_adjustment)')
    parser.add_argument('--tau', nargs='+', type=float, default=[1.0],
                        help=f'one row each, for {" and ".join(WITH_TAU)} (default: 1)')
    parser.add_argument('--train', metavar='FILE.npz', help='logits of the training set, for logn')
    parser.add_argument('--iif', choices=IIF_KINDS, default=IIF_KINDS[0],
                        help='weights of iif: log(N / n), or log((N + 1) / (n + 1)) + 1 (default: raw)')
    parser.add_argument('--keep-bias', action='store_true', help='tau_norm keeps the bias, which the paper discards')
    parser.add_argument('--topk', type=int, default=1, metavar='K', help='top-k accuracy (default: 1)')
    parser.add_argument('--few', type=int, default=20, help='fewer training images: few-shot class (default: 20)')
    parser.add_argument('--many', type=int, default=100, help='more training images: many-shot class (default: 100)')
    parser.add_argument('--out', nargs='+', default=[], metavar='FILE', help='also write the table: .md, .csv, .json')
    args = parser.parse_args()
    try:
        for path in args.out:
            check_report_path(path)
        saved = read_logits(args.logits)
        facts = PosthocFacts.of_saved(saved, None if args.train is None else read_logits(args.train))
        options = dict(keep_bias=args.keep_bias, iif=args.iif)
        maps = {posthoc_name(method, tau, **options): posthoc_map(method, facts, tau, **options)
                for method in args.method for tau in (args.tau if method in WITH_TAU else [None])}
        rows = posthoc_table(saved, maps, args.few, args.many, args.topk)
        for path in args.out:
            write_report(rows, path)
    except (ValueError, TypeError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    print(posthoc_markdown(rows))
    same = [row['method'] for row in rows[1:] if row['keeps_order']]
    if same:
        print(f'These change no ranking on this network: {"; ".join(same)}.')


if __name__ == '__main__':
    main()
