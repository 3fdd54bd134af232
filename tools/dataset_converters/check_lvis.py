#!/usr/bin/env python
"""Check LVIS v1, or another data set of its format: what is missing, how many images, what is broken."""
import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 1)]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('datasets')

from nbn_mm.datasets.lvis_check import check_file, check_lvis_v1  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data_root', nargs='?', default='data/lvis_v1',
                        help='folder of LVIS v1: annotations/, train2017/, val2017/ (data/lvis_v1)')
    parser.add_argument('--ann', metavar='FILE', help='check this file of LVIS format instead')
    parser.add_argument('--img-prefix', default='', metavar='DIR', help='folder of the images of --ann')
    parser.add_argument('--images', action='store_true', help='open each image')
    parser.add_argument('--workers', type=int, metavar='N', help='processes that open images (number of CPUs)')
    args = parser.parse_args()
    if args.ann:
        report = check_file(args.ann, args.img_prefix, args.images, args.workers)
    else:
        report = check_lvis_v1(args.data_root, args.images, args.workers)
    print(report.text)
    parser.exit(1 if report.problems else 0)


if __name__ == '__main__':
    main()
