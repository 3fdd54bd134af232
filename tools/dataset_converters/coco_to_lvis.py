#!/usr/bin/env python
"""Turn COCO-format annotations into LVIS format, so that APr, APc and APf work on data of your own."""
import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 1)]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('datasets')

from nbn_mm.datasets.coco_to_lvis import coco_to_lvis  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('train', help='annotations of the training images (COCO format), which decide the frequencies')
    parser.add_argument('--val', help='annotations of the validation images, with the same categories')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for train.json and val.json')
    parser.add_argument('--rare', type=int, default=10, metavar='N', help='at most N training images: rare (10)')
    parser.add_argument('--common', type=int, default=100, metavar='N', help='at most N: common, more: frequent (100)')
    parser.add_argument('--negatives', default='all', metavar='all|none|N',
                        help='absent categories listed as negative in each image; N are drawn at random (all)')
    parser.add_argument('--boxes-only', action='store_true', help='leave out masks')
    parser.add_argument('--seed', type=int, default=0, help='seed of the draw (0)')
    args = parser.parse_args()
    negatives = int(args.negatives) if args.negatives.isdigit() else args.negatives
    try:
        print(coco_to_lvis(args.train, args.out, args.val, args.rare, args.common, negatives, args.boxes_only,
                           args.seed))
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')


if __name__ == '__main__':
    main()
