"""Print the class counts and shot groups of a config's training set."""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package of this checkout, installed or not

from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.registry import DATASETS, init_default_scope  # noqa: E402

import nbn_mm  # noqa: E402, F401, registers the data sets
from nbn_mm.datasets.class_counts import count_classes  # noqa: E402
from nbn_mm.datasets.shot_groups import FEW, MANY  # noqa: E402
from nbn_mm.evaluation.functional import class_group_report, format_class_group_report  # noqa: E402


def main() -> None:
    """Parse the arguments and print the report."""
    parser = argparse.ArgumentParser(description="Class counts and many/medium/few groups of a config's training set.")
    parser.add_argument('config', help='config file with a train_dataloader')
    parser.add_argument('--few', type=int, default=FEW, help=f'few-shot: fewer training images (default: {FEW})')
    parser.add_argument('--many', type=int, default=MANY, help=f'many-shot: more training images (default: {MANY})')
    parser.add_argument('--json', action='store_true', help='print JSON instead of text')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='config changes')
    args = parser.parse_args()
    try:
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        if cfg.get('train_dataloader') is None:
            raise ValueError(f'{args.config!r} has no train_dataloader, so there is no training set to count.')
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        record = count_classes(DATASETS.build(cfg.train_dataloader.dataset))
        report = class_group_report(record, args.few, args.many)
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        parser.exit(1, f'error: {error}\n')
    print(json.dumps(report, indent=2) if args.json else format_class_group_report(report))


if __name__ == '__main__':
    main()
