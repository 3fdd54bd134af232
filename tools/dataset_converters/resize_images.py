#!/usr/bin/env python
"""Copy an image data set with pictures of a smaller size; they are encoded again and are not the same pictures."""
import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 1)]  # the package and tools of this checkout

from plain_rooms import without_registration  # noqa: E402

without_registration('datasets')

from nbn_mm.datasets.resize_images import resize_images  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='folder of the data set: pictures in any folders, list files')
    parser.add_argument('target', help='folder of the copy, new or begun by this tool with the same settings')
    parser.add_argument('--short-side', type=int, default=256, metavar='PX',
                        help='shorter side in pixels; smaller pictures are copied as they are (256)')
    parser.add_argument('--quality', type=int, default=90, metavar='Q', help='quality of JPEG, 1 to 100 (90)')
    parser.add_argument('--workers', type=int, metavar='N', help='processes (number of CPUs); 0: none besides this one')
    args = parser.parse_args()
    try:
        report = resize_images(**vars(args))
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    print(report.text)
    parser.exit(1 if report.corrupt else 0)


if __name__ == '__main__':
    main()
