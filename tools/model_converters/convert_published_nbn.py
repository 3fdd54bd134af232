#!/usr/bin/env python
"""Turn a checkpoint in the format of the authors' release of NBN (github.com/yuxiangbao/NBN) into one of ours."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package of this checkout, installed or not


def main() -> None:
    """Parse the arguments, convert and say what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='our config of the same network: norms, experts, logit rectification')
    parser.add_argument('checkpoint', help='the published checkpoint')
    parser.add_argument('out', help='checkpoint to write (.pth)')
    args = parser.parse_args()
    from nbn_mm.engine.published_checkpoint import convert_published  # imports both hosts: after what --help needs
    try:
        print(convert_published(args.config, args.checkpoint, args.out))
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')


if __name__ == '__main__':
    main()
