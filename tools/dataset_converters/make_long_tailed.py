#!/usr/bin/env python
"""Make a long-tailed list file from any list of `path label` lines or any folder of one subfolder a class."""
import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 1)]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('datasets')

from nbn_mm.datasets.make_long_tailed import make_long_tailed  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='list file or folder')
    parser.add_argument('out', help='list file to write; how it was drawn stands beside it in a JSON file')
    parser.add_argument('--imbalance-factor', type=float, required=True, metavar='IF',
                        help='largest over smallest class size')
    parser.add_argument('--type', choices=['exp', 'step'], default='exp', help='profile of the class sizes (exp)')
    parser.add_argument('--subset', default='canonical', help="'canonical', 'first' or a seed (canonical)")
    parser.add_argument('--largest', type=int, metavar='N', help='images of the largest class (all that it has)')
    args = parser.parse_args()
    subset = int(args.subset) if args.subset.isdecimal() else args.subset
    try:
        record = make_long_tailed(args.source, args.out, args.imbalance_factor, args.type, subset, args.largest)
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    print(f'{args.out}: {record["images"]} images of {len(record["counts"])} classes, {max(record["counts"])} … '
          f'{min(record["counts"])} a class, hash {record["hash"]}')


if __name__ == '__main__':
    main()
