#!/usr/bin/env python
"""Turn a trained NBN (+ logit rectification) checkpoint into a plain BN one, and say what still needs this package."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package of this checkout, installed or not

from nbn_mm.engine.fold_checkpoint import fold_checkpoint  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the trained network')
    parser.add_argument('checkpoint', help='checkpoint to fold')
    parser.add_argument('out', help='folded checkpoint to write; the folded model config is written beside it as .py')
    args = parser.parse_args()
    try:
        print(fold_checkpoint(args.config, args.checkpoint, args.out))
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')


if __name__ == '__main__':
    main()
