#!/usr/bin/env python
"""Draw Shapes-LVIS: a small long-tailed detection set in LVIS format, learnable on a CPU."""
import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 1)]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('datasets')

from nbn_mm.datasets.lvis_check import check_file  # noqa: E402
from nbn_mm.datasets.shapes_lvis import make_shapes_lvis  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', help='folder to write: train/, val/ and annotations/{train,val}.json')
    parser.add_argument('--num-train', type=int, default=60, metavar='N', help='training images (60)')
    parser.add_argument('--num-val', type=int, default=24, metavar='N', help='validation images (24)')
    parser.add_argument('--image-size', type=int, default=96, metavar='PX', help='side of the images in pixels (96)')
    parser.add_argument('--num-classes', type=int, default=9, metavar='C', help='classes, 2 to 24 (9)')
    parser.add_argument('--imbalance-factor', type=float, default=20, metavar='IF',
                        help='most over least frequent class, in training images (20)')
    parser.add_argument('--rare', type=int, default=3, metavar='N', help='at most N training images: rare (3)')
    parser.add_argument('--common', type=int, default=12, metavar='N', help='at most N: common, more: frequent (12)')
    parser.add_argument('--seed', type=int, default=0, help='seed of images and annotations (0)')
    args = parser.parse_args()
    try:
        files = make_shapes_lvis(**vars(args))
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    for path in files.values():
        print(check_file(path, args.out).text)


if __name__ == '__main__':
    main()
