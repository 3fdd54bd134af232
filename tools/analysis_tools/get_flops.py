"""Print what one image costs: operations and parameters of a classifier, of each expert, of a routed ensemble."""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package of this checkout, installed or not

from mmengine.config import Config, DictAction  # noqa: E402

import nbn_mm  # noqa: E402, F401, registers the models
from nbn_mm.engine.complexity import count_complexity  # noqa: E402


def main() -> None:
    """Parse the arguments and print the report."""
    parser = argparse.ArgumentParser(description='Multiply-accumulate operations ("FLOPs" in papers) of a classifier.')
    parser.add_argument('config', help='config file of a classifier')
    parser.add_argument('--shape', type=int, nargs='+', default=[224], metavar='PIXELS',
                        help='height, or height and width, of an image (default: 224)')
    parser.add_argument('--asked', type=float, nargs='+', metavar='PERCENT',
                        help='expert/0_asked expert/1_asked … of a test with routing: weighs the experts')
    parser.add_argument('--json', action='store_true', help='print JSON instead of text')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='config changes')
    args = parser.parse_args()
    if len(args.shape) > 2 or min(args.shape) < 1:
        parser.error(f'--shape {args.shape} must be one or two numbers of pixels')
    try:
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        report = count_complexity(cfg, *args.shape, asked=args.asked)
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        parser.exit(1, f'error: {error}\n')
    print(json.dumps(report.to_dict(), indent=2) if args.json else report)


if __name__ == '__main__':
    main()
