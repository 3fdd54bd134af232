#!/usr/bin/env python
"""Check a prepared data set of image files: what is missing or corrupt, how many images a class has."""
import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 1)]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('datasets')

from nbn_mm.datasets.image_list_check import LISTS, check_known_set, check_set  # noqa: E402

KNOWN = {'imagenet_lt': 'ImageNet-LT', 'places_lt': 'Places-LT', 'inat18': 'iNaturalist 2018'}
assert set(KNOWN.values()) == set(LISTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data_root', help='folder of the images')
    parser.add_argument('--set', choices=sorted(KNOWN), help='a published set, with its lists in data_root')
    parser.add_argument('--lists', nargs='+', metavar='SPLIT=FILE',
                        help='the lists (or folders of one subfolder a class) of another set, as in train=train.txt')
    parser.add_argument('--quick', action='store_true', help='do not decode the images')
    parser.add_argument('--workers', type=int, metavar='N', help='processes that decode (number of CPUs)')
    args = parser.parse_args()
    if (args.set is None) == (args.lists is None):
        parser.error('give exactly one of --set and --lists')
    if args.set:
        report = check_known_set(KNOWN[args.set], args.data_root, not args.quick, args.workers)
    else:
        wrong = [pair for pair in args.lists if '=' not in pair]
        if wrong:
            parser.error(f'--lists {wrong[0]}: SPLIT=FILE is expected')
        report = check_set(dict(pair.split('=', 1) for pair in args.lists), args.data_root, None, not args.quick,
                           args.workers)
    print(report.text)
    parser.exit(1 if report.problems else 0)


if __name__ == '__main__':
    main()
